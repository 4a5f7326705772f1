"""ONNX Runtime GenAI behind the tensor names of NVIDIA's llmapi model."""
