"""The console: one Gradio application in a browser, with its chat, its pages and who may use them."""
