"""The help text, printed before Hydra is imported."""

from __future__ import annotations

from acmix_exp.config import options

TEXT = """\
acmix_exp: trustworthy ablations of attention blocks in YOLO detectors

  python -m acmix_exp [+experiment=NAME] [GROUP=OPTION ...] [KEY=VALUE ...] [-m]

Builds YOLOv8 with ACmix (or the stock network), trains it, and writes one table over arms and seeds to
runs/NAME/summary.md, .csv, .json and .tex (a paper's \\input takes it as table.tex). The same command again skips
what is done and goes on with the rest.

examples
  python -m acmix_exp +experiment=demo
      four arms on the embedded data, two runs at once; minutes on two CPU cores
  python -m acmix_exp +experiment=ablation dataset=yolo dataset.path=my/data.yaml 'seed=range(0,8)'
      baseline, conv, attention and mixed, eight paired seeds, on your own data
  python -m acmix_exp -m block.kernel_att=3,5,7 block.head=2,4,8 arm=baseline,mixed name=my_sweep
      a sweep of your own

groups (GROUP=OPTION; the default of each is in conf/config.yaml)
{groups}

keys (KEY=VALUE)
  name seed tags task run split runs_dir, and those of the files in conf/; all with their values: --cfg job
  task=train     the default                        task=plan   what would run, what is done, how long is left
  task=profile   parameters, GFLOPs and latency of every network, without training
  task=report    name=NAME [runs_dir=DIR]   tables, figures and report.html of finished runs, here or copied here
  task=evaluate  run=runs/NAME/RUN [dataset=...] [split=test]   score a finished run
  task=export    run=runs/NAME/RUN [format=onnx]                its network as ONNX, TorchScript, ..., checked
  task=repeat    run=runs/NAME/RUN                              train it again from its directory, and compare

flags
  -m             sweep over comma-separated values  --cfg job   show the composed config
  --hydra-help   Hydra's own flags                  --version

exit code: 0 all done, 1 some run failed, 2 the config is wrong, 130 interrupted, 143 terminated
"""
GROUPS = ("experiment", "arm", "model", "model/placement", "block", "dataset", "train", "hardware", "logger")


def text() -> str:
    """The help with the groups and options that are found in conf/."""
    width = max(map(len, GROUPS)) + 2
    lines = []
    for group in GROUPS:
        line = f"  {group:<{width}}"
        for option in options(group):
            if len(line) + len(option) > 108:
                lines.append(line.rstrip())
                line = " " * (width + 2)
            line += option + " "
        lines.append(line.rstrip())
    return TEXT.format(groups="\n".join(lines))
