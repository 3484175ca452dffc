"""Curation: which rows teach this student, and for every row why; stages.py has the `curate` stage."""
