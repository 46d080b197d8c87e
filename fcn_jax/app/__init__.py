"""The page on which a net labels one photograph (`python -m fcn_jax serve`).

`panes`, `photographs` and `pictures` compute; only `page` and `server` need gradio, when called.
"""
