"""A trained network becomes one sealed ONNX file, and is checked against itself."""
