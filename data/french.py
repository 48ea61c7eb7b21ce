"""French forms: spelling across word boundaries, nouns, adjectives, participles and conjugation.

Persons are numbered as the corpus needs them: 0 je, 1 il/elle, 2 nous, 3 vous, 4 ils/elles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

JE, IL, NOUS, VOUS, ILS = range(5)

VOWELS = "aàâäeéèêëiîïoôöuùûüœæ"

# The h of these words stops elision ("le haricot", "ce héros"); every other h in the lexicon is mute.
ASPIRATED = ("hache", "haricot", "hauteur", "haut", "héros", "hibou", "hollandais", "huit", "hors", "hongrois")

NOT_ELIDED = ("onze", "oui", "yaourt")

ELIDED = {
    "je": "j'",
    "me": "m'",
    "te": "t'",
    "se": "s'",
    "le": "l'",
    "la": "l'",
    "de": "d'",
    "ne": "n'",
    "que": "qu'",
    "ce": "c'",
    "jusque": "jusqu'",
    "lorsque": "lorsqu'",
    "puisque": "puisqu'",
}


def opens_with_vowel(text: str) -> bool:
    """Gives whether the word or phrase makes the word before it elide or link."""
    word = text.lower()
    if word.startswith(ASPIRATED) or word.startswith(NOT_ELIDED):
        return False
    if word == "y" or word.startswith("y "):
        return True
    return word[0] in VOWELS or word[0] == "h"


def elide(text: str) -> str:
    """Gives the text with "je ai" written "j'ai", "si il" written "s'il", and so on."""
    words = text.split()
    parts: list[str] = []
    for position, word in enumerate(words):
        after = words[position + 1] if position + 1 < len(words) else ""
        if word.lower() == "si" and after in ("il", "ils"):
            parts.append("s'")
        elif word in ELIDED and after and opens_with_vowel(after):
            parts.append(ELIDED[word])
        else:
            parts.append(word + " ")
    return "".join(parts).strip()


def contract(preposition: str, phrase: str) -> str:
    """Gives "à" or "de" before a noun phrase, with "au", "aux", "du" and "des" where its article asks for them.

    Only an article contracts: never pass a phrase that opens with the pronoun "le" or "les".
    """
    if preposition in ("à", "de") or preposition.endswith((" à", " de")):
        head, letter = (
            preposition[:-2].rstrip() if preposition.endswith("de") else preposition[:-1].rstrip(),
            preposition[-2:],
        )
        short = ("du", "des") if letter == "de" else ("au", "aux")
        lead = head + " " if head else ""
        if phrase.startswith("le "):
            return f"{lead}{short[0]} {phrase[3:]}"
        if phrase.startswith("les "):
            return f"{lead}{short[1]} {phrase[4:]}"
    return elide(f"{preposition} {phrase}")


IRREGULAR_PLURALS = {
    "œil": "yeux",
    "travail": "travaux",
    "festival": "festivals",
    "genou": "genoux",
    "hibou": "hiboux",
    "grand-père": "grands-pères",
    "grand-mère": "grands-mères",
    "pomme de terre": "pommes de terre",
    "appareil photo": "appareils photo",
    "salle de bains": "salles de bains",
    "salle à manger": "salles à manger",
    "salle de classe": "salles de classe",
    "carte postale": "cartes postales",
    "machine à laver": "machines à laver",
    "cerf-volant": "cerfs-volants",
    "tasse de café": "tasses de café",
    "monsieur": "messieurs",
}


def plural(word: str) -> str:
    """Gives the plural of a noun or of a masculine adjective."""
    if word in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[word]
    if word.endswith(("s", "x", "z")):
        return word
    if word.endswith("al"):
        return word[:-2] + "aux"
    if word.endswith(("eau", "eu")) and word != "bleu":
        return word + "x"
    return word + "s"


IRREGULAR_FEMININES = {
    "beau": "belle",
    "nouveau": "nouvelle",
    "vieux": "vieille",
    "blanc": "blanche",
    "long": "longue",
    "sec": "sèche",
    "frais": "fraîche",
    "doux": "douce",
    "gentil": "gentille",
    "gros": "grosse",
    "bas": "basse",
    "fou": "folle",
    "public": "publique",
    "jaloux": "jalouse",
    "favori": "favorite",
    "grec": "grecque",
    "turc": "turque",
    "inquiet": "inquiète",
    "violet": "violette",
}

BEFORE_VOWEL = {"beau": "bel", "nouveau": "nouvel", "vieux": "vieil"}


def feminine(word: str) -> str:
    """Gives the feminine of a masculine adjective or participle."""
    if word in IRREGULAR_FEMININES:
        return IRREGULAR_FEMININES[word]
    if word.endswith("e"):
        return word
    if word.endswith("eux"):
        return word[:-1] + "se"
    if word.endswith("er"):
        return word[:-2] + "ère"
    if word.endswith(("en", "on")):
        return word + "ne"
    if word.endswith("el"):
        return word + "le"
    if word.endswith("if"):
        return word[:-1] + "ve"
    if word == "dû":
        return "due"
    return word + "e"


def agree(word: str, gender: str, many: bool) -> str:
    """Gives a masculine singular adjective or participle in the gender ("m" or "f") and number asked for."""
    form = feminine(word) if gender == "f" else word
    return plural(form) if many else form


def adjective_before(word: str, gender: str, many: bool, noun: str) -> str:
    """Gives the form of an adjective that stands before its noun: "bel arbre", "vieil ami"."""
    if gender == "m" and not many and word in BEFORE_VOWEL and opens_with_vowel(noun):
        return BEFORE_VOWEL[word]
    return agree(word, gender, many)


@dataclass(frozen=True)
class Paradigm:
    """What every form of a verb is built from."""

    present: tuple[str, str, str, str, str]
    imperfect_stem: str
    future_stem: str
    participle: str


# present (je, il, nous, vous, ils); future stem; past participle
IRREGULAR = {
    "être": ("suis est sommes êtes sont", "ser", "été"),
    "avoir": ("ai a avons avez ont", "aur", "eu"),
    "aller": ("vais va allons allez vont", "ir", "allé"),
    "faire": ("fais fait faisons faites font", "fer", "fait"),
    "dire": ("dis dit disons dites disent", "dir", "dit"),
    "lire": ("lis lit lisons lisez lisent", "lir", "lu"),
    "boire": ("bois boit buvons buvez boivent", "boir", "bu"),
    "croire": ("crois croit croyons croyez croient", "croir", "cru"),
    "voir": ("vois voit voyons voyez voient", "verr", "vu"),
    "recevoir": ("reçois reçoit recevons recevez reçoivent", "recevr", "reçu"),
    "devoir": ("dois doit devons devez doivent", "devr", "dû"),
    "pouvoir": ("peux peut pouvons pouvez peuvent", "pourr", "pu"),
    "vouloir": ("veux veut voulons voulez veulent", "voudr", "voulu"),
    "savoir": ("sais sait savons savez savent", "saur", "su"),
    "connaître": ("connais connaît connaissons connaissez connaissent", "connaîtr", "connu"),
    "naître": ("nais naît naissons naissez naissent", "naîtr", "né"),
    "mourir": ("meurs meurt mourons mourez meurent", "mourr", "mort"),
    "courir": ("cours court courons courez courent", "courr", "couru"),
    "cueillir": ("cueille cueille cueillons cueillez cueillent", "cueiller", "cueilli"),
    "rire": ("ris rit rions riez rient", "rir", "ri"),
    "sourire": ("souris sourit sourions souriez sourient", "sourir", "souri"),
    "suivre": ("suis suit suivons suivez suivent", "suivr", "suivi"),
    "vivre": ("vis vit vivons vivez vivent", "vivr", "vécu"),
    "résoudre": ("résous résout résolvons résolvez résolvent", "résoudr", "résolu"),
    "asseoir": ("assieds assied asseyons asseyez asseyent", "assiér", "assis"),
    "envoyer": ("envoie envoie envoyons envoyez envoient", "enverr", "envoyé"),
}

# Families that share an ending: how the present, the future stem and the participle replace it.
FAMILIES = (
    ("tenir", "tiens tient tenons tenez tiennent", "tiendr", "tenu"),
    ("venir", "viens vient venons venez viennent", "viendr", "venu"),
    ("écrire", "écris écrit écrivons écrivez écrivent", "écrir", "écrit"),
    ("ouvrir", "ouvre ouvre ouvrons ouvrez ouvrent", "ouvrir", "ouvert"),
    ("offrir", "offre offre offrons offrez offrent", "offrir", "offert"),
    ("dormir", "dors dort dormons dormez dorment", "dormir", "dormi"),
    ("partir", "pars part partons partez partent", "partir", "parti"),
    ("sortir", "sors sort sortons sortez sortent", "sortir", "sorti"),
    ("servir", "sers sert servons servez servent", "servir", "servi"),
    ("mentir", "mens ment mentons mentez mentent", "mentir", "menti"),
    ("prendre", "prends prend prenons prenez prennent", "prendr", "pris"),
    ("mettre", "mets met mettons mettez mettent", "mettr", "mis"),
    ("duire", "duis duit duisons duisez duisent", "duir", "duit"),
    ("truire", "truis truit truisons truisez truisent", "truir", "truit"),
    ("aindre", "ains aint aignons aignez aignent", "aindr", "aint"),
    ("eindre", "eins eint eignons eignez eignent", "eindr", "eint"),
)

# -er verbs whose mute e takes a grave accent, or doubles the consonant after it.
GRAVE = ("acheter", "lever", "promener", "peser", "soulever", "enlever", "geler")
DOUBLING = ("appeler", "jeter")

SUBJUNCTIVE = {
    "être": "sois soit soyons soyez soient",
    "avoir": "aie ait ayons ayez aient",
    "aller": "aille aille allions alliez aillent",
    "faire": "fasse fasse fassions fassiez fassent",
    "pouvoir": "puisse puisse puissions puissiez puissent",
    "savoir": "sache sache sachions sachiez sachent",
    "vouloir": "veuille veuille voulions vouliez veuillent",
}


def _five(text: str) -> tuple[str, str, str, str, str]:
    one, two, three, four, five = text.split()
    return one, two, three, four, five


def _first_group(infinitive: str) -> Paradigm:
    stem = infinitive[:-2]
    strong = stem
    future = infinitive
    if infinitive in GRAVE:
        strong = stem[:-2] + "è" + stem[-1]
        future = strong + "er"
    elif infinitive in DOUBLING:
        strong = stem + stem[-1]
        future = strong + "er"
    elif infinitive.endswith("yer"):
        strong = stem[:-1] + "i"
        future = strong + "er"
    elif len(stem) > 2 and stem[-2] == "é" and stem[-1] not in VOWELS:
        strong = stem[:-2] + "è" + stem[-1]
    soft = stem + "e" if stem.endswith("g") else stem[:-1] + "ç" if stem.endswith("c") else stem
    present = (strong + "e", strong + "e", soft + "ons", stem + "ez", strong + "ent")
    return Paradigm(present, soft, future, stem + "é")


@cache
def paradigm(infinitive: str) -> Paradigm:
    """Gives the stems and the present of a verb."""
    if infinitive in IRREGULAR:
        present, future, participle = IRREGULAR[infinitive]
        forms = _five(present)
        stem = "ét" if infinitive == "être" else forms[NOUS][:-3]
        return Paradigm(forms, stem, future, participle)
    for ending, present, future, participle in FAMILIES:
        if infinitive.endswith(ending):
            lead = infinitive[: -len(ending)]
            forms = _five(" ".join(lead + form for form in present.split()))
            return Paradigm(forms, forms[NOUS][:-3], lead + future, lead + participle)
    if infinitive.endswith("er"):
        return _first_group(infinitive)
    stem = infinitive[:-2]
    if infinitive.endswith("ir"):
        forms = (stem + "is", stem + "it", stem + "issons", stem + "issez", stem + "issent")
        return Paradigm(forms, stem + "iss", infinitive, stem + "i")
    if infinitive.endswith("dre"):
        forms = (stem + "s", stem, stem + "ons", stem + "ez", stem + "ent")
        return Paradigm(forms, stem, infinitive[:-1], stem + "u")
    raise ValueError(f"no paradigm for the French verb {infinitive!r}")


IMPERFECT_ENDINGS = ("ais", "ait", "ions", "iez", "aient")
FUTURE_ENDINGS = ("ai", "a", "ons", "ez", "ont")


def simple_form(infinitive: str, tense: str, person: int) -> str:
    """Gives one simple form; `tense` is present, imperfect, future, conditional or subjunctive."""
    forms = paradigm(infinitive)
    if tense == "present":
        return forms.present[person]
    if tense == "imperfect":
        stem, ending = forms.imperfect_stem, IMPERFECT_ENDINGS[person]
        if ending.startswith("i") and infinitive.endswith("ger"):
            stem = stem[:-1]
        elif ending.startswith("i") and infinitive.endswith("cer"):
            stem = stem[:-1] + "c"
        return stem + ending
    if tense == "future":
        return forms.future_stem + FUTURE_ENDINGS[person]
    if tense == "conditional":
        return forms.future_stem + IMPERFECT_ENDINGS[person]
    if tense == "subjunctive":
        if infinitive in SUBJUNCTIVE:
            return _five(SUBJUNCTIVE[infinitive])[person]
        if person in (NOUS, VOUS):
            return simple_form(infinitive, "imperfect", person)
        return forms.present[ILS][:-3] + ("ent" if person == ILS else "e")
    raise ValueError(f"no simple tense called {tense!r}")


def imperative(infinitive: str, person: int) -> str:
    """Gives the imperative for "nous" or "vous"."""
    if infinitive in ("être", "avoir"):
        return simple_form(infinitive, "subjunctive", person)
    return simple_form(infinitive, "present", person)


def gerund(infinitive: str) -> str:
    """Gives the form that follows "en": "chantant", "mangeant"."""
    return {"être": "étant", "avoir": "ayant", "savoir": "sachant"}.get(
        infinitive, paradigm(infinitive).present[NOUS][:-3] + "ant"
    )


COMPOUND = {
    "perfect": "present",
    "pluperfect": "imperfect",
    "past_conditional": "conditional",
    "future_perfect": "future",
}

REFLEXIVE = ("me", "se", "nous", "vous", "se")

# These follow the participle; every other second half of a negation stands before it.
AFTER_PARTICIPLE = ("personne", "que")


@dataclass(frozen=True)
class Verb:
    """A French verb: its infinitive without "se", its auxiliary, and whether it is reflexive."""

    infinitive: str
    auxiliary: str = "avoir"
    reflexive: bool = False


def predicate(
    verb: Verb,
    person: int,
    tense: str,
    *,
    gender: str = "m",
    many: bool = False,
    negation: str = "",
    clitics: tuple[str, ...] = (),
    agreement: tuple[str, bool] | None = None,
    adverb: str = "",
    inverted: str = "",
) -> str:
    """Gives the verb with all that clings to it, not yet elided.

    `gender` and `many` are the subject's; `agreement` is that of a direct object standing before the verb;
    `adverb` follows the finite verb; `inverted` is the subject pronoun set after it ("il", "vous").
    The tense may be "near_future": "va lire".
    """
    before = ((REFLEXIVE[person],) if verb.reflexive else ()) + clitics
    inner = [] if negation in AFTER_PARTICIPLE or negation == "ne" else [negation]
    outer = [negation] if negation in AFTER_PARTICIPLE else []
    if tense == "near_future":
        words = [simple_form("aller", "present", person)]
        tail = [*before, verb.infinitive]
        before = ()
    elif tense in COMPOUND:
        auxiliary = "être" if verb.reflexive else verb.auxiliary
        words = [simple_form(auxiliary, COMPOUND[tense], person)]
        target = (gender, many) if auxiliary == "être" else agreement
        participle = paradigm(verb.infinitive).participle
        tail = [agree(participle, *target) if target else participle]
    else:
        words = [simple_form(verb.infinitive, tense, person)]
        tail = []
    if inverted:
        link = "-t-" if words[0][-1] in "aec" and inverted in ("il", "elle", "on") else "-"
        words[0] += link + inverted
    group = [*(["ne"] if negation else []), *before, *words, *inner, adverb, *tail, *outer]
    return " ".join(word for word in group if word)


def infinitive_group(verb: Verb, person: int = IL, clitics: tuple[str, ...] = (), negation: str = "") -> str:
    """Gives the infinitive with its pronouns: "se lever", "ne pas le voir"."""
    before = ((REFLEXIVE[person],) if verb.reflexive else ()) + clitics
    lead = ("ne", negation) if negation else ()
    return " ".join((*lead, *before, verb.infinitive))


def imperative_group(verb: Verb, person: int, clitics: tuple[str, ...] = (), negation: str = "") -> str:
    """Gives an order: "donnez-le-moi", "ne le lui donnez pas", "levez-vous"."""
    form = imperative(verb.infinitive, person)
    if negation:
        before = ((REFLEXIVE[person],) if verb.reflexive else ()) + clitics
        return " ".join(("ne", *before, form, negation))
    after = ((REFLEXIVE[person],) if verb.reflexive else ()) + clitics
    # After an order the direct pronoun leads, and "me" is stressed.
    order = {"le": 0, "la": 0, "les": 0}
    ranked = sorted(after, key=lambda clitic: order.get(clitic, 1))
    return "-".join((form, *("moi" if clitic == "me" else clitic for clitic in ranked)))
