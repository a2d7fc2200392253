"""Visual Description Assembly: weakly supervised semantic segmentation from image-level labels.

A street of rooms, each importing only those below it:

    commands      what a person types
    explore       what a person looks at: plots, the attribute browser
    evaluation    mIoU, seed curves, attribute measures; an opened run; profiling
    inference     multi-scale, flip, DenseCRF: a trained network alone
    methods       one file a method: vda, text, class_mean, excel, weclip, toco, seco
    training      the trainer, which knows no method
    segmentation  from queries to masks: CAM, affinity, PAR, pseudo label, segmenter
    attributes    the paper's own mathematics: flow, mixture, losses, assembly
    clip          frozen CLIP: dense features, text, loading
    data          images and image-level labels; masks only for evaluation; PartWorld
    config        settings and presets
    io            files written whole or not at all
    progress      one bar for every long loop

`pretraining`, beside them, makes PartWorld's small CLIP.
"""

__version__ = "0.5.0"
