"""``python -m acmix_exp``."""

import sys

from acmix_exp.cli import main

sys.exit(main())
