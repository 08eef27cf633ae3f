"""``safecompress export ARTIFACT --to FORMAT``: the model for other programs, which need nothing of this one."""

from __future__ import annotations

from pathlib import Path

import typer

from safecompress.cli._support.output import say_json
from safecompress.cli.app import app
from safecompress.cli.options import AS_JSON, artifact_argument, model_factory_option

ARTIFACT = artifact_argument("The artifact to export (.safetensors).")
TO = typer.Option(..., "--to", metavar="torch|onnx|safetensors", help="What is written.")
OUT = typer.Option(None, "--out", help="The file to write.  (default: the artifact's name with another ending)")
MODEL = model_factory_option("What makes the network, where its class is your own (for ONNX).")


@app.command()
def export(
    artifact: Path = ARTIFACT,
    to: str = TO,
    out: Path | None = OUT,
    model: str | None = MODEL,
    as_json: bool = AS_JSON,
) -> None:
    """Write a compressed model as other programs read it: plain names, dense tensors.

    torch: a state dict for model.load_state_dict(torch.load(FILE, weights_only=True)). safetensors: the same tensors.
    onnx: the network behind its input transform. Beside tensors a JSON file names classes and input transform. Nothing
    is written over. Exit code 0.
    """
    from safecompress.workflows.export_file import export_file

    exported = export_file(artifact, to, out=out, factory=model)
    if as_json:
        say_json({"artifact": str(artifact), "files": [str(file) for file in exported.files], "words": exported.words})
        return
    for line in (f"Written: {' and '.join(map(str, exported.files))}.", *exported.words):
        typer.echo(line)
