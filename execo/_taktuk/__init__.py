"""TakTuk: one tree of connections instead of a flat fan of ssh clients."""
