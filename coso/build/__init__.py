"""`coso build`: a Dockerfile becomes an image.

`dockerfile` reads it, `coso.images.instructions` says what each instruction changes in the
image's configuration, `context` is what COPY and ADD read, `stage` carries it
all out.
"""
