`thence check` proves that everything is there, `thence check --deep` that every byte is as it was
written; what is damaged is named by the versions, paths and runs that it touches. `thence repair
--from URL` heals it from a clone, a mirror or the home.
