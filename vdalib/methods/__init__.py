"""One file a method: `vda`, its rivals `excel`, `weclip`, `toco` and `seco`, the controls `text` and `class_mean`. `base` is what
a method is; `frozen_clip` is what those on a frozen CLIP share, `tokens` what ToCo and SeCo do."""
