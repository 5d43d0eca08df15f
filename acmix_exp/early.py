"""Refuse files that stand in for modules of Python which the first imports of this package need.

They would end the command in a traceback before ``installed.py`` can look. Only ``os`` and ``sys`` are imported, which
Python has imported already.
"""

import os
import sys

NAMES = (
    *("base64", "binascii", "copyreg", "enum", "fnmatch", "hashlib", "ipaddress", "json", "ntpath"),
    *("pathlib", "re", "signal", "struct", "textwrap", "typing", "urllib"),
)


def refuse(arguments: list[str]) -> None:
    """Exit with code 2 and one line if a folder before the standard library has a file of such a name."""
    if "allow_foreign_ultralytics=true" in [argument.lstrip("+").lower() for argument in arguments]:
        return
    for entry in sys.path:
        folder = os.path.abspath(entry or ".")
        if folder == os.path.dirname(os.__file__):
            return
        for name in NAMES:
            for place, file in ((f"{name}.py", ""), (name, "__init__.py")):
                path = os.path.join(folder, place)
                if os.path.isfile(os.path.join(path, file) if file else path):
                    sys.stderr.write(
                        f"acmix_exp: {name}: {path} would be imported in place of the module of Python; move it or "
                        "start in another folder\n"
                    )
                    sys.exit(2)
