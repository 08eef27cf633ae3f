"""The engine of studies: keyed items, each measured once into a file of its own; then page, picture, document."""

from safecompress.studies.engine.attacks import check_shadows, check_single_version, give_num_shadows
from safecompress.studies.engine.folder import StudyFolder, open_study_folder
from safecompress.studies.engine.outputs import StudyRecord, environment, write_outputs
from safecompress.studies.engine.runner import Runner
from safecompress.studies.engine.study import Figure, Measured, Result, Study

__all__ = [
    "Figure",
    "Measured",
    "Result",
    "Runner",
    "Study",
    "StudyFolder",
    "StudyRecord",
    "check_shadows",
    "check_single_version",
    "environment",
    "give_num_shadows",
    "open_study_folder",
    "write_outputs",
]
