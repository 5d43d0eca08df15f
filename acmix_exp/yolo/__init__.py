"""YOLOv8 with a block at chosen sites. The only room that knows ultralytics' insides.

Importing this package imports neither torch nor ultralytics.
"""
