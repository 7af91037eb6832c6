"""What measures are called in tables and plots."""

from __future__ import annotations

TITLES = {
    "joint_success": "joint success",
    "joint_success_sealed": "joint success (sealed judge)",
    "joint_success_corrected": "joint success, corrected",
    "joint_success_development": "joint success (development judge)",
    "concept_success": "concepts shown",
    "concept_success_sealed": "concepts shown (sealed judge)",
    "concepts_shown": "concepts shown",
    "colour_bound": "colour bound",
    "fid": "FID",
    "fid_inf": "FID∞",
    "kid": "KID ×1000",
    "cmmd": "CMMD",
    "cmmd_biased": "CMMD (biased)",
    "clip_score cosine": "CLIP cosine",
    "clip_score hessel": "CLIPScore (Hessel)",
    "clip_score torchmetrics": "CLIPScore (torchmetrics)",
    "clip_score coco": "CLIP cosine (COCO)",
    "clip_i": "CLIP-I",
    "dino": "DINO",
    "nearest_training_image": "nearest training image",
}
