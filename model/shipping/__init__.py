"""From a checkpoint to a registered ONNX file with its card."""
