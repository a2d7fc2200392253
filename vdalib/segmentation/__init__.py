"""From queries to masks: CAMs and their refinement (`cam`, `par`), pseudo labels (`labelling`), the segmenter that learns them
(`segmenter`) and its losses (`losses`)."""
