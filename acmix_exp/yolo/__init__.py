"""Everything that knows ultralytics: networks with blocks, their training, evaluation and export.

Read families, yaml_layers, inner and sites (where a block can sit; no torch), model and wrap (how it is built in),
transfer (pretrained weights), trainer and run (one training), preflight (checks before it). Importing the package
imports no torch.
"""
