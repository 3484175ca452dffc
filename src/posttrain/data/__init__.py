"""Problems: the synthetic task, loaders of real data sets, splits; stages.py has the `data` stage."""
