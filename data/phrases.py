"""Phrases in both languages at once: noun phrases, subjects, pronouns, clauses, times and numbers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import english
import french
import lexicon
from lexicon import Action, Adjective, Noun

T = TypeVar("T", bound=Hashable)

Both = tuple[str, str]


class Draw:
    """Seeded choices that favour what has been chosen least, so that the lexicon is covered evenly."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.used: Counter[Hashable] = Counter()
        # The construction being drawn: what it has used itself weighs more than what the others have.
        self.context = ""

    def pick(self, items: Sequence[T]) -> T:
        """Gives one of the items: the least used of three drawn."""
        drawn = [items[self.random.randrange(len(items))] for _ in range(3)]
        chosen = min(drawn, key=lambda item: self.used[item] + 5 * self.used[self.context, item])
        self.used[chosen] += 1
        self.used[self.context, chosen] += 1
        return chosen

    def chance(self, probability: float) -> bool:
        """Gives True with the probability asked for."""
        return self.random.random() < probability

    def number(self, low: int, high: int) -> int:
        """Gives a whole number between two bounds, both included."""
        return self.random.randint(low, high)

    def pair(self, items: Sequence[T]) -> tuple[T, T]:
        """Gives two different items."""
        first = self.pick(items)
        return first, self.pick([item for item in items if item != first])


@dataclass(frozen=True)
class Phrase:
    """A noun phrase or a pronoun, with what agreement needs to know of it."""

    en: str
    fr: str
    gender: str = "m"
    many: bool = False
    person: int = french.IL
    # An indefinite or partitive phrase: its "du", "de la" or "des" gives way to a bare "de" after "de".
    partitive: bool = False
    noun: Noun | None = None

    def with_de(self) -> str:
        """Gives the French phrase after "de"."""
        if self.partitive:
            for article in ("du ", "des ", "de la ", "de l'"):
                if self.fr.startswith(article):
                    return french.elide("de " + self.fr.removeprefix(article))
        return french.contract("de", self.fr)

    def after(self, preposition: str) -> str:
        """Gives the French phrase after a preposition, or alone when there is none."""
        return french.contract(preposition, self.fr) if preposition else self.fr


I = Phrase("I", "je", person=french.JE)  # noqa: E741
HE = Phrase("he", "il")
SHE = Phrase("she", "elle", "f")
WE = Phrase("we", "nous", many=True, person=french.NOUS)
# "you" is the polite singular throughout, taken as masculine: the English says neither.
YOU = Phrase("you", "vous", person=french.VOUS)
THEY = Phrase("they", "ils", many=True, person=french.ILS)
THEY_F = Phrase("they", "elles", "f", True, french.ILS)

PRONOUNS = (I, HE, SHE, WE, YOU, THEY)

_OBJECT_EN = ("me", "him", "us", "you", "them")
_POSSESSIVE_EN = ("my", "his", "our", "your", "their")
_POSSESSIVE_FR = (
    ("mon", "ma", "mes"),
    ("son", "sa", "ses"),
    ("notre", "notre", "nos"),
    ("votre", "votre", "vos"),
    ("leur", "leur", "leurs"),
)
_DIRECT = ("me", "le", "nous", "vous", "les")
_INDIRECT = ("me", "lui", "nous", "vous", "leur")
_STRESSED = ("moi", "lui", "nous", "vous", "eux")


def object_en(phrase: Phrase) -> str:
    """Gives the English object pronoun of a person."""
    return "her" if phrase.person == french.IL and phrase.gender == "f" else _OBJECT_EN[phrase.person]


def direct(phrase: Phrase) -> str:
    """Gives the French direct object pronoun."""
    return "la" if phrase.person == french.IL and phrase.gender == "f" else _DIRECT[phrase.person]


def indirect(phrase: Phrase) -> str:
    """Gives the French indirect object pronoun."""
    return _INDIRECT[phrase.person]


def stressed(phrase: Phrase) -> str:
    """Gives the French pronoun that stands after a preposition."""
    if phrase.gender == "f" and phrase.person in (french.IL, french.ILS):
        return "elle" if phrase.person == french.IL else "elles"
    return _STRESSED[phrase.person]


def pronoun(phrase: Phrase) -> Phrase:
    """Gives the subject pronoun that takes up a person already named."""
    if phrase.person != french.IL and phrase.person != french.ILS:
        return phrase
    if phrase.many:
        return THEY_F if phrase.gender == "f" else THEY
    return SHE if phrase.gender == "f" else HE


def possessive_en(owner: Phrase) -> str:
    """Gives "my", "his", "her" and so on."""
    return "her" if owner.person == french.IL and owner.gender == "f" else _POSSESSIVE_EN[owner.person]


def possessive_fr(owner: Phrase, gender: str, many: bool, following: str) -> str:
    """Gives the French possessive for what is owned, "mon" before a feminine word that opens with a vowel."""
    masculine, feminine, plural = _POSSESSIVE_FR[owner.person]
    if many:
        return plural
    return feminine if gender == "f" and not french.opens_with_vowel(following) else masculine


def _french_core(entry: Noun, many: bool, adjective: Adjective | None) -> str:
    noun = entry.french(many)
    if adjective is None:
        return noun
    if adjective.before:
        return french.adjective_before(adjective.fr, entry.gender, many, noun) + " " + noun
    return noun + " " + french.agree(adjective.fr, entry.gender, many)


def _french_article(determiner: str, gender: str, many: bool, core: str, preposed: bool, mass: bool) -> str:
    vowel = french.opens_with_vowel(core)
    if determiner == "the":
        return "les" if many else "la" if gender == "f" else "le"
    if determiner == "a":
        return "une" if gender == "f" else "un"
    if determiner == "some":
        if many:
            return "de" if preposed else "des"
        return "de la" if gender == "f" and not vowel else "de l'" if vowel else "du"
    if determiner in ("this", "these"):
        return "ces" if many else "cette" if gender == "f" else "cet" if vowel else "ce"
    if determiner == "no":
        return "de"
    if determiner == "all the":
        return "toutes les" if gender == "f" else "tous les"
    if determiner == "every":
        return "chaque"
    if determiner == "several":
        return "plusieurs"
    if determiner == "which":
        return french.agree("quel", gender, many)
    return dict(lexicon.NUMBERS)[determiner]


def noun_phrase(
    entry: Noun, determiner: str, many: bool = False, adjective: Adjective | None = None, owner: Phrase | None = None
) -> Phrase:
    """Gives a noun with its determiner and adjective.

    The determiner is "the", "a", "some", "this", "these", "no" (English "any" or "a"), "all the", "every", "several",
    "which", a number word, or "own" for the possessive of `owner`.
    """
    core_en = (adjective.en + " " if adjective else "") + entry.english(many)
    core_fr = _french_core(entry, many, adjective)
    preposed = adjective is not None and adjective.before
    partitive = determiner == "some"
    person = french.ILS if many else french.IL
    if determiner == "own" and owner is not None:
        fr = f"{possessive_fr(owner, entry.gender, many, core_fr)} {core_fr}"
        return Phrase(f"{possessive_en(owner)} {core_en}", fr, entry.gender, many, person, False, entry)
    article = _french_article(determiner, entry.gender, many, core_fr, preposed, entry.mass)
    joined = f"{article}{core_fr}" if article.endswith("'") else french.elide(f"{article} {core_fr}")
    if determiner == "a":
        en = english.with_article(core_en)
    elif determiner == "no":
        en = f"any {core_en}" if many or entry.mass else english.with_article(core_en)
    else:
        en = f"{determiner} {core_en}"
    return Phrase(en, joined, entry.gender, many, person, partitive, entry)


def generic(entry: Noun, many: bool = True) -> Phrase:
    """Gives a noun taken in general: "apples", "les pommes"; "water", "l'eau"."""
    many = many and not entry.mass
    phrase = noun_phrase(entry, "the", many)
    return replace(phrase, en=entry.english(many))


def adjective_of(
    draw: Draw, entry: Noun, attributive: bool = True, accept: Callable[[Adjective], bool] | None = None
) -> Adjective | None:
    """Gives an adjective that suits the noun, or None when the lexicon has none."""
    fitting = [
        adjective
        for adjective in lexicon.adjectives_for(entry)
        if (adjective.attributive or not attributive)
        # "Nouveau" hardly stands after "être".
        and (attributive or adjective.en != "new")
        and (accept is None or accept(adjective))
    ]
    return draw.pick(fitting) if fitting else None


# What seldom comes alone.
PAIRED = ("footwear", "fruit", "vegetable", "plant")
BARE = ("science", "language", "sport", "meal")
OWNED = (*lexicon.GOODS, "vehicle", "animal", "idea", "dish_owned")
# "His word" is a promise and "his sentence" a penalty.
NOT_OWNED = ("word", "sentence", "rule")
# One of these is all a sentence can take: "two televisions" and "these kitchens" read oddly.
SINGLE = ("room", "meal", "area", "device", "structure", "venue", "building", "landscape", "vehicle", "instrument")


def object_phrase(
    draw: Draw,
    entry: Noun,
    owner: Phrase,
    negative: bool = False,
    plain: bool = False,
    definite: bool = False,
    many: bool | None = None,
    own: bool = True,
    wanted: bool = False,
) -> Phrase:
    """Gives the noun as the object of a verb whose subject is `owner`.

    `negative` lets the article become "de"; `plain` leaves adjectives out; `many` settles the number;
    without `own` the thing is not the subject's; what is `wanted` is neither dirty nor broken.
    """
    if entry.kind in BARE:
        return generic(entry, many=False)
    adjective = None
    if not plain and draw.chance(0.25):
        adjective = adjective_of(draw, entry, accept=lambda a: not (wanted and a.en in UNWANTED))
    if entry.mass:
        return noun_phrase(
            entry, draw.pick(("the", "the" if definite else "no" if negative else "some")), False, adjective
        )
    single = entry.kind in SINGLE
    if many is None:
        pair = entry.kind == "footwear" and entry.en != "glove"
        many = pair or (not single and draw.chance(0.45))
    if many:
        choices = ["the", "some", "these", "two", "three", "several"]
        choices = [choice for choice in choices if not negative or choice in ("the", "these")]
        choices += ["no"] if negative else ["four", "five"] if entry.kind in lexicon.EATEN_WHOLE else []
    else:
        choices = ["the", "this", "no" if negative else "a"]
        if single and entry.kind in ("room", "structure"):
            choices = ["the"]
    owned = entry.kind in OWNED and entry.en not in NOT_OWNED and suits(owner, entry)
    if own and owned and (owner.person != french.IL or draw.chance(0.6)):
        choices.append("own")
    if (negative and adjective is not None) or definite:
        choices = [choice for choice in choices if choice in ("the", "this", "these", "own")]
    determiner = choices[draw.random.randrange(len(choices))]
    phrase = noun_phrase(entry, determiner, many, adjective, owner)
    return one_each(phrase, owner, adjective) if determiner == "own" and not many and personal(entry) else phrase


def personal(entry: Noun) -> bool:
    """Gives whether each person has one of these."""
    return entry.kind in lexicon.WORN or entry.en in lexicon.PERSONAL


def one_each(phrase: Phrase, owner: Phrase, adjective: Adjective | None = None) -> Phrase:
    """Gives what each of several people has one of: "their hats" in English, but "leur chapeau"."""
    assert phrase.noun is not None
    if not owner.many:
        return phrase
    core = (adjective.en + " " if adjective else "") + phrase.noun.english(True)
    return replace(phrase, en=core if phrase.en.startswith(("a ", "an ")) else f"{possessive_en(owner)} {core}")


def suits(who: Phrase, entry: Noun) -> bool:
    """Gives whether a person may wear or own it: dresses and skirts are for women."""
    return who.gender == "f" or entry.en not in lexicon.FEMININE_WEAR


FIRST_PERSON = (french.JE, french.NOUS)


def named(draw: Draw) -> Phrase:
    """Gives a first name."""
    name = draw.pick(lexicon.NAMES)
    return Phrase(name.text, name.text, name.gender)


def relative(draw: Draw, owner: Phrase | None = None, many: bool = False) -> Phrase:
    """Gives somebody close: "my uncle", or with an owner "his uncle"."""
    entry = draw.pick(lexicon.NOUNS["relative"])
    many = many and entry.en not in ("father", "mother", "boss")
    return noun_phrase(entry, "own", many, None, owner or draw.pick((I, I, WE, YOU)))


def person(draw: Draw, adjective_chance: float = 0.15) -> Phrase:
    """Gives a person by a noun: "the old baker", "my aunt", "the children"."""
    if draw.chance(0.3):
        return relative(draw, many=draw.chance(0.15))
    entry = draw.pick(lexicon.nouns("job", "person"))
    adjective = adjective_of(draw, entry) if draw.chance(adjective_chance) else None
    many = draw.chance(0.3)
    determiner = "the" if draw.chance(0.8) else "these" if many else "this"
    return noun_phrase(entry, determiner, many, adjective)


def subject(draw: Draw, pronouns: float = 0.45) -> Phrase:
    """Gives the subject of a verb that people do: a pronoun, a name or a noun."""
    if draw.chance(pronouns):
        return draw.pick(PRONOUNS)
    return named(draw) if draw.chance(0.35) else person(draw)


def interlocutor(draw: Draw) -> Phrase:
    """Gives the subject of a question: seldom the speaker, who would know."""
    who = subject(draw)
    return WE if who is I and draw.chance(0.3) else YOU if who is I else who


def someone(draw: Draw, avoid: Phrase) -> Phrase:
    """Gives a person, other than the subject, by a name or a noun."""
    while True:
        other = named(draw) if draw.chance(0.35) else person(draw)
        if other.en != avoid.en:
            return other


def other_pronoun(draw: Draw, avoid: Phrase) -> Phrase:
    """Gives a pronoun that can be the object when `avoid` is the subject."""
    if avoid.person in FIRST_PERSON:
        choices = (HE, SHE, YOU, THEY)
    elif avoid.person == french.VOUS:
        choices = (I, HE, SHE, WE, THEY)
    else:
        choices = PRONOUNS
    return draw.pick(choices)


def be_adjective(phrase: Phrase, adjective: Adjective) -> str:
    """Gives the French adjective in agreement with what it is said of."""
    return french.agree(adjective.fr, phrase.gender, phrase.many)


TENSES = {
    "present": "present",
    "progressive": "present",
    "past": "perfect",
    "perfect": "perfect",
    "past_progressive": "imperfect",
    "used_to": "imperfect",
    "future": "future",
    "going_to": "near_future",
    "conditional": "conditional",
    "pluperfect": "pluperfect",
    "past_conditional": "past_conditional",
}

NEGATIONS = {"not": "pas", "never": "jamais", "no longer": "plus", "not yet": "pas encore"}


def french_tense(action: Action, tense: str) -> str:
    """Gives the French tense for an English one: a state in the simple past is an imperfect."""
    return "imperfect" if action.stative and tense == "past" else TENSES[tense]


def french_verb(
    who: Phrase,
    action: Action,
    tense: str,
    negation: str = "",
    clitics: tuple[str, ...] = (),
    agreement: tuple[str, bool] | None = None,
    adverb: str = "",
    inverted: str = "",
) -> str:
    """Gives the French verb for a subject, in the tense that answers the English one."""
    return french.predicate(
        action.fr,
        who.person,
        french_tense(action, tense),
        gender=who.gender,
        many=who.many,
        negation=negation,
        clitics=clitics,
        agreement=agreement,
        adverb=adverb,
        inverted=inverted,
    )


def ahead(action: Action, tense: str) -> str:
    """Gives the tense, the simple future for "go": not "va aller", nor "va chercher", which is to fetch."""
    plain = action is lexicon.GO or action.fr.infinitive == "chercher"
    return "future" if tense == "going_to" and plain else tense


def clause(
    who: Phrase,
    action: Action,
    tense: str,
    rest: Both = ("", ""),
    *,
    negation: str = "",
    clitics: tuple[str, ...] = (),
    agreement: tuple[str, bool] | None = None,
    adverb: Both = ("", ""),
) -> Both:
    """Gives subject, verb and complement in both languages; `negation` is a key of `NEGATIONS`."""
    tense = ahead(action, tense)
    late = " yet" if negation == "not yet" else ""
    verb_en = english.predicate(action.en, who.person, tense, "not" if late else negation, adverb[0])
    verb_fr = french_verb(who, action, tense, NEGATIONS.get(negation, ""), clitics, agreement, adverb[1])
    return join(f"{who.en} {verb_en} {rest[0]}{late}"), join(f"{who.fr} {verb_fr} {rest[1]}")


def join(text: str) -> str:
    """Gives the text without doubled or outer spaces."""
    return " ".join(text.split())


def complement(action: Action, phrase: Phrase) -> Both:
    """Gives an object in both languages, after the French verb's preposition."""
    return phrase.en, phrase.after(action.preposition)


def venue(draw: Draw) -> Both:
    """Gives where one is: "at the market", "au marché"."""
    return at(draw.pick(lexicon.NOUNS["venue"]))


def at(entry: Noun) -> Both:
    """Gives a venue as the place where something happens: "at the market", but "on the beach"."""
    there = noun_phrase(entry, "the")
    en, fr = {"beach": ("on", "sur"), "port": ("in", "dans")}.get(entry.en, ("at", "à"))
    return f"{en} {there.en}", there.after(fr)


def destination(draw: Draw) -> Both:
    """Gives where one goes: "to the market", "au marché"; "to Spain", "en Espagne"."""
    if draw.chance(0.6):
        entry = draw.pick(lexicon.NOUNS["venue"])
        return f"to the {entry.en}", french.contract("à", noun_phrase(entry, "the").fr)
    place = draw.pick(lexicon.COUNTRIES if draw.chance(0.6) else lexicon.CITIES)
    return f"to {place.en}", place.inside


def location(draw: Draw) -> Both:
    """Gives the town or the country where something happens."""
    place = draw.pick(lexicon.COUNTRIES if draw.chance(0.6) else lexicon.CITIES)
    return f"in {place.en}", place.inside


def room(draw: Draw) -> Both:
    """Gives the room where something happens."""
    entry = draw.pick(lexicon.NOUNS["room"])
    return f"in the {entry.en}", "dans " + noun_phrase(entry, "the").fr


def indoors(draw: Draw) -> Both:
    """Gives a room under a roof."""
    entry = draw.pick(tuple(n for n in lexicon.NOUNS["room"] if n.en not in ("garden", "courtyard")))
    return f"in the {entry.en}", "dans " + noun_phrase(entry, "the").fr


def somewhere(draw: Draw) -> Both:
    """Gives a place of any of these sorts."""
    return draw.pick((venue, room, location))(draw)


PAST_TIMES: tuple[Both, ...] = (
    ("yesterday", "hier"),
    ("yesterday morning", "hier matin"),
    ("last night", "hier soir"),
    ("last week", "la semaine dernière"),
    ("last month", "le mois dernier"),
    ("last year", "l'année dernière"),
    ("the day before yesterday", "avant-hier"),
    ("last summer", "l'été dernier"),
    ("last winter", "l'hiver dernier"),
)
HABITS: tuple[Both, ...] = (
    ("every day", "tous les jours"),
    ("every morning", "tous les matins"),
    ("every evening", "tous les soirs"),
    ("every week", "toutes les semaines"),
    ("every month", "tous les mois"),
    ("in the morning", "le matin"),
    ("in the evening", "le soir"),
    ("from time to time", "de temps en temps"),
)
NOW: tuple[Both, ...] = (("now", "maintenant"), ("at the moment", "en ce moment"))
FUTURE_TIMES: tuple[Both, ...] = (
    ("tomorrow", "demain"),
    ("tomorrow morning", "demain matin"),
    ("tonight", "ce soir"),
    ("next week", "la semaine prochaine"),
    ("next month", "le mois prochain"),
    ("next year", "l'année prochaine"),
    ("the day after tomorrow", "après-demain"),
    ("next summer", "l'été prochain"),
)
FREQUENCY: tuple[Both, ...] = (
    ("often", "souvent"),
    ("always", "toujours"),
    ("sometimes", "parfois"),
    ("rarely", "rarement"),
)
MANNER: tuple[Both, ...] = (
    ("slowly", "lentement"),
    ("quickly", "rapidement"),
    ("carefully", "soigneusement"),
    ("patiently", "patiemment"),
    ("quietly", "tranquillement"),
)


# Where each intransitive act may happen; what is not listed happens anywhere people meet.
_SETTINGS: dict[str, tuple[str, ...]] = {
    "sleep": ("hotel", "bedroom", "living room", "farm", "castle", "attic"),
    "swim": ("swimming pool", "beach", "port"),
    "cook": ("kitchen", "restaurant", "hotel"),
    "run": ("stadium", "beach", "garden", "courtyard", "port"),
    "walk": ("beach", "garden", "port", "corridor", "courtyard"),
    "study": ("library", "university", "school", "bedroom", "living room"),
    "read": ("library", "university", "school", "bedroom", "living room", "garden", "hotel", "beach"),
    "eat": ("restaurant", "kitchen", "hotel", "dining room", "garden", "market", "cinema"),
    "dance": ("theatre", "castle", "living room", "garden", "hotel", "courtyard", "restaurant", "beach"),
    "sing": ("theatre", "church", "school", "garden", "bathroom", "restaurant", "castle"),
    "smoke": ("garden", "courtyard", "port", "beach", "farm"),
    "dream": ("bedroom", "garden", "library", "beach"),
}
# One laughs, smiles and shouts "at" people, so these are set in rooms.
_INSIDE = ("kitchen", "garden", "corridor", "living room", "courtyard", "bedroom", "dining room")
_SETTINGS.update(dict.fromkeys(("laugh", "smile", "shout"), _INSIDE))
_ANYWHERE = (
    *(
        "school",
        "hospital",
        "station",
        "airport",
        "theatre",
        "cinema",
        "market",
        "restaurant",
        "bank",
        "museum",
        "kitchen",
    ),
    *("garden", "corridor", "living room", "courtyard", "post office", "pharmacy", "bakery"),
)


def setting(draw: Draw, action: Action) -> Both:
    """Gives a place that suits an act without an object."""
    if action.en.base == "travel":
        # One travels in a country, not in a town.
        land = draw.pick(lexicon.COUNTRIES)
        return f"in {land.en}", land.inside
    if action.en.base in ("work", "sing", "dance", "swim", "run", "study") and draw.chance(0.3):
        return location(draw)
    if action.en.base == "work":
        return draw.pick((venue, venue, room))(draw)
    entry = lexicon.noun(draw.pick(_SETTINGS.get(action.en.base, _ANYWHERE)))
    there = noun_phrase(entry, "the")
    return (f"in {there.en}", f"dans {there.fr}") if entry.kind == "room" else at(entry)


def planned(tense: str) -> bool:
    """Gives whether the tense speaks of what is still to be done."""
    return tense in ("future", "going_to", "conditional")


# What takes a moment is told of a day, not of a summer.
BRIEF = (
    *("sleep", "laugh", "cry", "smile", "shout", "wait", "cough", "smoke", "run", "walk", "eat", "read", "dream"),
    *("look", "listen", "greet", "follow", "phone", "talk", "answer", "lie", "obey", "call", "show", "bring"),
    *("lift", "push", "open", "close", "take", "carry", "count", "fill", "move", "touch", "cut", "wash", "make"),
    *("drink", "taste", "prepare", "order", "burn", "break", "check", "feed", "water", "clean", "hear", "sing"),
    *("explain", "tell", "understand", "hide", "wear", "copy", "sign", "use", "draw", "describe", "choose"),
)
LATELY: tuple[Both, ...] = (
    ("yesterday", "hier"),
    ("last night", "hier soir"),
    ("the day before yesterday", "avant-hier"),
    *((f"last {en}", f"{fr} dernier") for en, fr in lexicon.WEEKDAYS),
)
SHORTLY: tuple[Both, ...] = (
    ("tomorrow", "demain"),
    ("tomorrow morning", "demain matin"),
    ("tonight", "ce soir"),
    ("the day after tomorrow", "après-demain"),
    *((f"next {en}", f"{fr} prochain") for en, fr in lexicon.WEEKDAYS),
)


def past_time(draw: Draw, action: Action | None = None) -> Both:
    """Gives a moment of the past, one of the last days for what takes a moment."""
    if action is not None and action.en.base in BRIEF:
        return draw.pick(LATELY)
    if draw.chance(0.25):
        number, unit = (
            draw.pick(lexicon.NUMBERS[1:12]),
            draw.pick((("days", "jours"), ("weeks", "semaines"), ("years", "ans"))),
        )
        return f"{number[0]} {unit[0]} ago", f"il y a {number[1]} {unit[1]}"
    if draw.chance(0.25):
        day = draw.pick(lexicon.WEEKDAYS)
        return f"last {day[0]}", f"{day[1]} dernier"
    return draw.pick(PAST_TIMES)


def future_time(draw: Draw, action: Action | None = None) -> Both:
    """Gives a moment of the future, one of the next days for what takes a moment."""
    if action is not None and action.en.base in BRIEF:
        return draw.pick(SHORTLY)
    if draw.chance(0.2):
        number, unit = (
            draw.pick(lexicon.NUMBERS[1:12]),
            draw.pick((("days", "jours"), ("weeks", "semaines"), ("years", "ans"))),
        )
        return f"in {number[0]} {unit[0]}", f"dans {number[1]} {unit[1]}"
    if draw.chance(0.25):
        day = draw.pick(lexicon.WEEKDAYS)
        return f"next {day[0]}", f"{day[1]} prochain"
    return draw.pick(FUTURE_TIMES)


def habit_time(draw: Draw) -> Both:
    """Gives a time that comes back."""
    if draw.chance(0.2):
        day = draw.pick(lexicon.WEEKDAYS)
        return f"on {english.plural(day[0])}", f"le {day[1]}"
    if draw.chance(0.15):
        return draw.pick(lexicon.SEASONS)
    return draw.pick(HABITS)


def time_for(draw: Draw, tense: str, action: Action | None = None) -> Both:
    """Gives a time that goes with an English tense, and with what is done."""
    if tense == "present":
        return habit_time(draw)
    if tense == "progressive":
        return draw.pick(NOW)
    return future_time(draw, action) if tense in ("future", "going_to") else past_time(draw, action)


UNITS_EN = ("", *(en for en, _ in lexicon.NUMBERS))
UNITS_FR = ("", *(fr for _, fr in lexicon.NUMBERS))
TENS_EN = ("", "", "twenty", *(en for en, _ in lexicon.TENS))
TENS_FR = ("", "", "vingt", "trente", "quarante", "cinquante", "soixante")


def number_en(value: int) -> str:
    """Gives a number from 1 to 99 in English words."""
    if value <= 20:
        return UNITS_EN[value]
    tens, unit = divmod(value, 10)
    return TENS_EN[tens] + (f"-{UNITS_EN[unit]}" if unit else "")


def number_fr(value: int) -> str:
    """Gives a number from 1 to 99 in French words (masculine)."""
    if value <= 20:
        return UNITS_FR[value]
    if value >= 80:
        return "quatre-vingts" if value == 80 else f"quatre-vingt-{UNITS_FR[value - 80]}"
    tens = min(value // 10, 6)
    unit = value - 10 * tens
    if unit == 0:
        return TENS_FR[tens]
    return f"{TENS_FR[tens]} et {UNITS_FR[unit]}" if unit in (1, 11) else f"{TENS_FR[tens]}-{UNITS_FR[unit]}"


def clock(draw: Draw) -> Both:
    """Gives a time of day, in words or in figures."""
    if draw.chance(0.35):
        hour, minute = draw.number(6, 23), draw.pick((5, 10, 15, 20, 25, 30, 40, 45, 50))
        return f"at {hour}:{minute:02d}", f"à {hour} h {minute:02d}"
    if draw.chance(0.12):
        return draw.pick((("at noon", "à midi"), ("at midnight", "à minuit")))
    hour = draw.number(2, 11)
    en, fr = UNITS_EN[hour], UNITS_FR[hour] + " heures"
    return draw.pick(
        (
            (f"at {en} o'clock", f"à {fr}"),
            (f"at half past {en}", f"à {fr} et demie"),
            (f"at a quarter past {en}", f"à {fr} et quart"),
            (f"at a quarter to {en}", f"à {fr} moins le quart"),
        )
    )


YEARS = tuple(range(1953, 2025, 3))


def date(draw: Draw, tense: str) -> Both:
    """Gives a day of the year, in words or in figures, the year now and then when it is past."""
    month = draw.pick(lexicon.MONTHS)
    if draw.chance(0.3):
        ordinal = draw.pick(tuple(range(len(lexicon.ORDINALS) - 1)))
        fr = "premier" if ordinal == 0 else UNITS_FR[ordinal + 1]
        return f"on the {lexicon.ORDINALS[ordinal][0]} of {month[0]}", f"le {fr} {month[1]}"
    day = draw.number(1, 28)
    year = f" {draw.pick(YEARS)}" if tense == "past" and draw.chance(0.6) else ""
    return f"on {day} {month[0]}{year}", f"le {'1er' if day == 1 else day} {month[1]}{year}"


# With these, "not any" is what one says: "he does not eat any cheese", but "he does not push the wardrobe".
HAVING_NONE = (
    *(
        "eat",
        "drink",
        "buy",
        "sell",
        "read",
        "write",
        "make",
        "wear",
        "receive",
        "order",
        "sign",
        "plant",
        "borrow",
        "find",
    ),
    *("translate", "draw", "cut", "use"),
)
# What these do to a thing would quarrel with many an adjective: nobody cleans clean shoes.
CHANGING = ("clean", "wash", "fill", "break", "finish", "burn")
UNWANTED = ("bad", "dirty", "broken", "empty", "wet", "dry", "useless", "boring", "worse")


def indefinite(draw: Draw, entry: Noun) -> Phrase:
    """Gives something not yet spoken of: "some bread", "a book", "three apples"."""
    if entry.kind in BARE:
        return generic(entry, many=False)
    adjective = adjective_of(draw, entry, accept=lambda a: a.en not in UNWANTED) if draw.chance(0.25) else None
    if entry.mass:
        return noun_phrase(entry, "some", False, adjective)
    if entry.kind not in SINGLE and draw.chance(0.9 if entry.kind in PAIRED else 0.4):
        return noun_phrase(entry, draw.pick(("some", "some", "two", "three", "four")), True, adjective)
    return noun_phrase(entry, "a", False, adjective)


# The figures that stand for ages and prices; any number may be spelled out.
FIGURES = (5, 8, 10, 12, 15, 18, 20, 25, 30, 40, 45, 50, 60, 70, 80, 90)


def amount(draw: Draw, low: int, high: int) -> Both:
    """Gives a number between two bounds, in words or in figures."""
    figures = tuple(value for value in FIGURES if low <= value <= high)
    if figures and draw.chance(0.4):
        value = draw.pick(figures)
        return str(value), str(value)
    value = draw.pick(tuple(range(low, high + 1)))
    return number_en(value), number_fr(value)


# What one does to things that are not one's own.
ANOTHERS = ("borrow", "steal", "rent", "buy", "order", "choose", "catch")


# What one does to things that are as they should be.
WANTED = (*ANOTHERS, "eat", "drink", "wear", "use", "receive", "plant", "pick", "make", "draw", "prepare", "organise")


def object_of(
    draw: Draw, action: Action, who: Phrase, negative: bool = False, plain: bool = False, definite: bool = False
) -> Both:
    """Gives something the action may be done to."""
    entry = draw.pick(tuple(n for n in lexicon.objects_of(action) if action.en.base != "wear" or suits(who, n)))
    if action.en.base == "wear" and who.many and entry.kind != "footwear":
        return worn_by_each(draw, who, entry, plain, definite or negative)
    if action.en.base in ("accept", "refuse"):
        # One does not accept one's own idea.
        several = draw.chance(0.4)
        return complement(action, noun_phrase(entry, draw.pick(("the", "these" if several else "this")), several))
    definite = definite or action.en.base == "forget" or (negative and action.en.base not in HAVING_NONE)
    plain = plain or action.en.base in CHANGING
    many = {"count": True, "wear": entry.kind == "footwear"}.get(action.en.base)
    own = action.en.base not in ANOTHERS
    phrase = object_phrase(
        draw, entry, who, negative, plain, definite or many is True, many, own, action.en.base in WANTED
    )
    return complement(action, phrase)


def worn_by_each(draw: Draw, who: Phrase, entry: Noun, plain: bool = False, definite: bool = False) -> Both:
    """Gives what several people wear: "caps", "their caps"; "une casquette", "leur casquette"."""
    adjective = None
    if not plain and draw.chance(0.25):
        adjective = adjective_of(draw, entry, accept=lambda a: a.en not in UNWANTED)
    own = definite or draw.chance(0.5)
    phrase = one_each(noun_phrase(entry, "own" if own else "a", False, adjective, who), who, adjective)
    return phrase.en, phrase.fr


def act(
    draw: Draw,
    who: Phrase,
    negative: bool = False,
    plain: bool = False,
    ongoing: bool = False,
    willed: bool = False,
    definite: bool = False,
) -> tuple[Action, Both]:
    """Gives something people do to a thing, with its object.

    `ongoing` asks for a verb that has a progressive, `willed` for one that can be planned or ordered.
    """
    fitting = tuple(a for a in lexicon.TRANSITIVE if (a.progressive or not ongoing) and (a.willed or not willed))
    action = draw.pick(fitting)
    return action, object_of(draw, action, who, negative, plain, definite)


def deed(
    draw: Draw, who: Phrase, negative: bool = False, ongoing: bool = False, willed: bool = False
) -> tuple[Action, Both]:
    """Gives any deed in a few words: to a thing, to a person, or alone."""

    def fits(action: Action) -> bool:
        return not action.stative and (action.progressive or not ongoing) and (action.willed or not willed)

    dice = draw.random.random()
    if dice < 0.6:
        return act(draw, who, negative, ongoing=ongoing, willed=willed)
    if dice < 0.78:
        action = draw.pick(tuple(filter(fits, lexicon.SOCIAL)))
        return action, complement(action, someone(draw, who))
    if dice < 0.87:
        action = draw.pick(tuple(filter(fits, lexicon.INDIRECT)))
        return action, complement(action, someone(draw, who))
    action = draw.pick(tuple(filter(fits, lexicon.INTRANSITIVE)))
    return action, setting(draw, action) if draw.chance(0.6) else ("", "")
