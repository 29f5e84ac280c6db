"""Contact sheets: pictures beside the views that training draws of them, so that a person sees what the network will see.

contact_sheet(spec, data_root) -> PNG    before anything is trained; decodes only the pictures it shows
sheet_of(store, spec)          -> PNG    of images that are loaded already: a job's own sheet
"""

from ssl_core.preview.sheet import contact_sheet, sheet_of

__all__ = ["contact_sheet", "sheet_of"]
