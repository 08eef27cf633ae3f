"""Dynamic sparse training inside the trainers that people use: thin adapters over `safecompress.SparseTraining`.

Each lies in a module of its own, which needs the trainer's package: `integrations.huggingface`,
`integrations.lightning`. A loop of one's own needs none: ``SparseTraining(model, optimizer, automatic=True, ...)``.
"""
