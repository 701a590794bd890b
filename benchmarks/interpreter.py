"""A network in a TFLite interpreter, called again and again; by itself a process that does so when it is asked to.

    python benchmarks/interpreter.py MODEL N_CALLS      with an interpreter that has tflite-runtime

It calls the network for each line it reads, and says how many seconds of CPU that took.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def calls(make: Callable[..., Any], model: bytes, n_calls: int) -> Callable[[], None]:
    """`n_calls` invocations of a model of float inputs and outputs, in one thread."""
    interpreter = make(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    inputs = [(d["index"], np.zeros(d["shape"], np.float32)) for d in interpreter.get_input_details()]
    outputs = [d["index"] for d in interpreter.get_output_details()]

    def run() -> None:
        for _ in range(n_calls):
            for index, value in inputs:
                interpreter.set_tensor(index, value)
            interpreter.invoke()
            for index in outputs:
                interpreter.get_tensor(index)

    return run


def main() -> None:
    from tflite_runtime.interpreter import Interpreter

    run = calls(Interpreter, Path(sys.argv[1]).read_bytes(), int(sys.argv[2]))
    run()
    for _ in sys.stdin:
        began_s = time.process_time()
        run()
        print(time.process_time() - began_s, flush=True)


if __name__ == "__main__":
    main()
