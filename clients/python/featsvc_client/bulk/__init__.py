"""`featsvc-client`: features and masks of many pictures into files, from folders, archives and videos.

Nothing of the package but its command imports this; its libraries come with the extra `bulk`.
"""
