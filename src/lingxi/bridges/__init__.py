"""Our models inside other libraries: one file each, imported only where that library is at hand."""
