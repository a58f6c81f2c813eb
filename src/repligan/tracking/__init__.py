"""MLflow as a projection of the files that DVC tracks; the only room that imports mlflow.

Each row of params.yaml has a run, found again by its result, so that `sync` can be called any number of times. No
failure here ever stops the pipeline: the files are the truth. What this module names is light; `projection` reads
results, and imports numpy.
"""

from repligan.tracking.live import Live, Sweep
from repligan.tracking.store import artifacts, one_line, open_store, uri

__all__ = ["Live", "Sweep", "artifacts", "one_line", "open_store", "uri"]
