"""Images too large for memory, read and written in strips: some complete rows at a time.

Use `strips`: `read_strips` reads any image file, `write_strips` writes a PNG. Behind it, `png` and
`tiff` find the stored bytes of some rows in a file, and `decoding` turns them into pixels.
"""
