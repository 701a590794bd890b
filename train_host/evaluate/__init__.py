"""`tonelight-train evaluate`: trainings over the folds of protocols, and what the exported bundles say of the tested.

A task is one training: a recipe, a split, a seed. Its folder is `OUT/<recipe>/<split>/seed-<n>/`:

    result.json      what the report is made from: counts, no recordings, no features; may be committed
    run/             the run folder of `train_host.train`, resumable
    training.json    how long, on what, from which clips
    bundle/          the exported bundle that was measured
    log.txt          what the task's process said

| module | holds |
| --- | --- |
| `tasks` | which tasks there are, in which folder, on which split |
| `features` | features for any split, from recordings or from a folder that travels without them |
| `work` | one task, in a process of its own: trains it, exports and measures it |
| `measure` | answers to counts |
| `noise` | the recordings in noise and in rooms |
| `result` | the strict form of `result.json` |
| `engine` | the running of tasks: their processes, progress, interruption |
| `cluster` | the same on the workers of a Dask scheduler |
| `command` | arguments, and what is left to do |

`train_host.report` makes the document.
"""
