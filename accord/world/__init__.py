"""The embedded world: drawn 32x32 scenes, their captions, rewards for them, and a small model trained on them.

Everything in it is computed from code in this folder, so that the whole toolkit can be run and measured on a laptop
without any download. Import what you need from its files; this one stays empty to keep imports light.
"""
