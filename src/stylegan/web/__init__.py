"""A model as a web page: `site` writes the folder, `page/` is our part of it, `runtime/` onnxruntime-web's."""
