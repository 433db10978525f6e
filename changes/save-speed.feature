Saving costs less: a file of 1 GiB a quarter less CPU time and 100,000 small files half of it. Reading,
digesting and compressing one large file overlap, and its packs are written without a copy.
