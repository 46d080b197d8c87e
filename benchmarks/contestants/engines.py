"""Inference engines: ONNX Runtime and OpenCV DNN, on the file that PyTorch exports."""

from pathlib import Path

import numpy as np

from benchmarks.case import Case, Program, read


def program(case: Case, folder: Path) -> Program:
    """The forward pass of `net.onnx` by the engine named in `case.options`."""
    images = np.ascontiguousarray(read(folder)[1].transpose(0, 3, 1, 2))
    engine = {"onnxruntime": onnx_runtime, "opencv": opencv}[case.options[0]]
    return Program(
        run=engine(case, folder / "net.onnx", images),
        wait=lambda out: None,
        result=lambda out: out,
        channels_first=True,
    )


def onnx_runtime(case: Case, path: Path, images: np.ndarray):
    import onnxruntime  # pyright: ignore[reportMissingImports]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = case.threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": images})[0]


def opencv(case: Case, path: Path, images: np.ndarray):
    import cv2  # pyright: ignore[reportMissingImports]

    cv2.setNumThreads(case.threads)
    net = cv2.dnn.readNetFromONNX(str(path))

    def run() -> np.ndarray:
        net.setInput(images)
        return net.forward()

    return run
