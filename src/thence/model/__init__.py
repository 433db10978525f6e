"""Pure data: identifiers, names, refs, records and their canonical bytes. No I/O happens here."""
