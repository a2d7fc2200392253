"""From queries to masks: CAMs and their refinement (`cam`, `par`), pseudo labels (`labelling`), the segmenter that learns them
(`segmenter`), its losses (`losses`) and what refines its masks at inference (`crf`)."""
