DROP TABLE audit, commit_probe, halts, control;
