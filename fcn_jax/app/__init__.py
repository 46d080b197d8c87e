"""The page on which a net labels one photograph (`python -m fcn_jax serve`).

`panes`, `photographs` and `pictures` compute; `page` alone needs gradio.
"""
