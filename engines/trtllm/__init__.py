"""TensorRT-LLM bundles: quantised by ModelOpt, checked before any GPU is used, laid out for its servers."""
