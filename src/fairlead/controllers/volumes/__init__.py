"""PersistentVolumes and their claims: bound, made as local folders, reclaimed, protected while in use."""
