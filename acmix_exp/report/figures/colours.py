"""The two colours that a page recolours on a dark ground; no other part of a figure may have them."""

INK, RULE = "#1b1f24", "#d0d7de"
