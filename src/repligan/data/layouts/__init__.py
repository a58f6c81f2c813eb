"""How known data sets lie in their files: a module each, with `NEEDED` files and `read`; numpy is imported by `read`.

A layout is a module here and its line below.
"""

from types import ModuleType

from repligan.data.layouts import archives, celeba, mnist, svhn, svhn_test, unlabelled

LAYOUTS: dict[str, ModuleType] = {
    "mnist": mnist,
    "svhn": svhn,
    "celeba": celeba,
    "images": archives,
    "unlabelled": unlabelled,
    "svhn-test": svhn_test,
}
