"""``python -m acmix_exp``."""

import sys

try:
    from acmix_exp.cli import main
except KeyboardInterrupt:
    sys.exit("acmix_exp: stopped; nothing was started")

sys.exit(main())
