"""The bundled plugins: each is one file, registered by an entry point as any third party's."""
