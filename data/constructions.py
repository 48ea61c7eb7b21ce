"""The constructions of the corpus: each named function draws one sentence in both languages."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import english
import french
import lexicon
from lexicon import Action, Noun
from phrases import (
    FREQUENCY,
    HE,
    LATELY,
    MANNER,
    NOT_OWNED,
    PRONOUNS,
    SHE,
    SHORTLY,
    TENSES,
    THEY,
    WE,
    YEARS,
    YOU,
    Both,
    Draw,
    I,
    Phrase,
    act,
    adjective_of,
    ahead,
    amount,
    be_adjective,
    clause,
    clock,
    complement,
    date,
    deed,
    destination,
    direct,
    french_verb,
    future_time,
    generic,
    habit_time,
    indefinite,
    indirect,
    indoors,
    interlocutor,
    join,
    location,
    named,
    noun_phrase,
    number_en,
    number_fr,
    object_en,
    object_of,
    object_phrase,
    one_each,
    other_pronoun,
    past_time,
    person,
    personal,
    planned,
    possessive_en,
    pronoun,
    relative,
    setting,
    someone,
    somewhere,
    stressed,
    subject,
    suits,
    time_for,
    venue,
    worn_by_each,
)


class Pair(NamedTuple):
    """A sentence in both languages, not yet elided nor capitalised, and the mark that ends it."""

    en: str
    fr: str
    mark: str = "."


Construction = Callable[[Draw], Pair]

CONSTRUCTIONS: dict[str, Construction] = {}


def construction(function: Construction) -> Construction:
    """Enters a function among the constructions."""
    CONSTRUCTIONS[function.__name__] = function
    return function


def verb_en(who: Phrase, action: Action, tense: str, negation: str = "", adverb: str = "") -> str:
    """Gives the English verb for a subject."""
    return english.predicate(action.en, who.person, tense, negation, adverb)


def infinitive(action: Action, who: Phrase, rest: str = "", clitics: tuple[str, ...] = ()) -> str:
    """Gives the French infinitive for a subject, with its complement."""
    return join(f"{french.infinitive_group(action.fr, who.person, clitics)} {rest}")


def base(action: Action, rest: str = "") -> str:
    """Gives the English infinitive without "to", with its complement."""
    return join(f"{action.en.base} {action.en.particle} {rest}")


def ing(action: Action, rest: str = "") -> str:
    """Gives the English form in -ing, with its complement."""
    return join(f"{action.en.ing()} {action.en.particle} {rest}")


def with_time(pair: Both, time: Both, draw: Draw) -> Both:
    """Gives the clause with its time at the end, or before it after a comma."""
    if draw.chance(0.2):
        return f"{time[0]}, {pair[0]}", f"{time[1]}, {pair[1]}"
    return f"{pair[0]} {time[0]}", f"{pair[1]} {time[1]}"


def thing(draw: Draw, action: Action, determiner: str, many: bool = False) -> Phrase:
    """Gives an object of the action with a given determiner."""
    return noun_phrase(draw.pick(lexicon.objects_of(action)), determiner, many)


def countable(action: Action) -> tuple[Noun, ...]:
    """Gives the objects of an action that have a plural and an article."""
    return tuple(entry for entry in lexicon.objects_of(action) if not entry.mass and entry.kind != "meal")


ACTIONS = tuple(action for action in lexicon.TRANSITIVE if len(countable(action)) > 1)
ONGOING = tuple(action for action in ACTIONS if action.progressive)
WILLED = tuple(action for action in ACTIONS if action.willed)
DYNAMIC_SOCIAL = tuple(action for action in lexicon.SOCIAL if not action.stative)


# Tenses


@construction
def present_habit(draw: Draw) -> Pair:
    """She reads the newspaper every morning."""
    who = subject(draw)
    action = draw.pick(tuple(a for a in lexicon.TRANSITIVE if a.en.base in HABITUAL))
    rest = object_of(draw, action, who)
    while not recurring(action, rest):
        rest = object_of(draw, action, who)
    return Pair(*with_time(clause(who, action, "present", rest), habit_time(draw), draw))


HABITUAL = (
    *(
        "eat",
        "drink",
        "buy",
        "sell",
        "read",
        "write",
        "make",
        "prepare",
        "cut",
        "wash",
        "clean",
        "open",
        "close",
        "repair",
    ),
    *(
        "wear",
        "carry",
        "use",
        "draw",
        "drive",
        "learn",
        "teach",
        "study",
        "watch",
        "cross",
        "visit",
        "water",
        "pick",
        "feed",
    ),
    *(
        "count",
        "sing",
        "check",
        "photograph",
        "translate",
        "admire",
    ),
)


COUNTED = re.compile(r"\b(two|three|four|five|several)\b")
DEFINITE = re.compile(r"(the|this|these|my|his|her|our|your|their) ")
# One does these to a thing once, not every day.
ONCE = (
    *("eat", "drink", "buy", "sell", "write", "make", "prepare", "cut", "pick", "order", "choose", "sign", "build"),
    *("plant", "break", "burn", "lose", "find", "steal", "receive", "rent", "finish", "begin", "catch", "send"),
    *("solve", "cancel", "organise", "accept", "refuse", "take", "borrow", "copy", "translate", "forget"),
)


def recurring(action: Action, rest: Both) -> bool:
    """Gives whether a deed may come back: one eats an apple every day, but not the apple."""
    once = action in lexicon.TRANSITIVE and action.en.base in ONCE
    return not COUNTED.search(rest[0]) and not (once and DEFINITE.match(rest[0]))


def uncounted(draw: Draw, who: Phrase, negative: bool = False, ongoing: bool = False) -> tuple[Action, Both]:
    """Gives a deed that may become a habit: nobody rarely finishes several projects."""
    while True:
        action, rest = deed(draw, who, negative, ongoing)
        once = action.en.particle == "for" or (action.en.base == "learn" and not negative)
        if not once and (negative or recurring(action, rest)) and not COUNTED.search(rest[0]):
            return action, rest


def habit(draw: Draw, who: Phrase) -> tuple[Action, Both]:
    """Gives a deed whose simple present or imperfect needs no adverb: "he shouts", "he reads novels"."""
    while True:
        action, rest = uncounted(draw, who, ongoing=True)
        if action not in lexicon.TRANSITIVE or action.en.base in HABITUAL:
            return action, rest


@construction
def present_frequency(draw: Draw) -> Pair:
    """My uncle often helps the neighbours."""
    who = subject(draw)
    action, rest = uncounted(draw, who)
    return Pair(*clause(who, action, "present", rest, adverb=draw.pick(FREQUENCY)))


@construction
def present_third(draw: Draw) -> Pair:
    """The judge sometimes forgets his umbrella."""
    who = draw.pick(
        (HE, SHE, named(draw), noun_phrase(draw.pick(lexicon.nouns("job", "person")), "the"), relative(draw))
    )
    action, rest = uncounted(draw, who)
    return Pair(*clause(who, action, "present", rest, adverb=draw.pick(FREQUENCY)))


@construction
def soon(draw: Draw) -> Pair:
    """Our neighbours will soon sell their house."""
    who = subject(draw)
    action, rest = draw.pick((deed(draw, who, willed=True), (lexicon.GO, destination(draw))))
    return Pair(*clause(who, action, "future", rest, adverb=("soon", "bientôt")))


@construction
def progressive(draw: Draw) -> Pair:
    """The waiter is cleaning the table now."""
    who = subject(draw)
    action, rest = act(draw, who, ongoing=True)
    time = time_for(draw, "progressive") if draw.chance(0.5) else ("", "")
    en, fr = clause(who, action, "progressive", rest)
    return Pair(f"{en} {time[0]}", f"{fr} {time[1]}")


@construction
def progressive_place(draw: Draw) -> Pair:
    """The children are singing in the garden."""
    who = subject(draw)
    action = draw.pick(tuple(a for a in lexicon.INTRANSITIVE if a.en.base != "travel"))
    return Pair(*clause(who, action, "progressive", setting(draw, action)))


@construction
def past_event(draw: Draw) -> Pair:
    """We bought three apples yesterday."""
    who = subject(draw)
    action, rest = act(draw, who)
    return Pair(*with_time(clause(who, action, "past", rest), past_time(draw, action), draw))


@construction
def past_social(draw: Draw) -> Pair:
    """Marie met the mayor last week."""
    who = subject(draw)
    action = draw.pick(DYNAMIC_SOCIAL)
    pair = clause(who, action, "past", complement(action, someone(draw, who)))
    return Pair(*with_time(pair, past_time(draw, action), draw))


@construction
def past_motion(draw: Draw) -> Pair:
    """The tourists came back yesterday."""
    who = subject(draw)
    action = draw.pick(lexicon.MOTION)
    time = draw.pick(LATELY) if action in (lexicon.GO_OUT, lexicon.GO_HOME, lexicon.FALL) else past_time(draw)
    return Pair(*with_time(clause(who, action, "past"), time, draw))


@construction
def past_destination(draw: Draw) -> Pair:
    """My aunts went to Italy last year."""
    who = subject(draw)
    action = draw.pick((lexicon.GO, lexicon.RETURN, lexicon.COME))
    goal = destination(draw)
    time = draw.pick(LATELY) if goal[0].startswith("to the ") else past_time(draw)
    return Pair(*with_time(clause(who, action, "past", goal), time, draw))


@construction
def past_movement(draw: Draw) -> Pair:
    """She went down to the cellar."""
    who = subject(draw)
    choices = (
        (lexicon.GO_DOWN, "to the cellar", "à la cave"),
        (lexicon.GO_UP, "to the attic", "au grenier"),
        (lexicon.FALL, "in the street", "dans la rue"),
        (lexicon.STAY, "at home", "à la maison"),
        (lexicon.GO_HOME, "very late", "très tard"),
        (lexicon.GO_HOME, "by bus", "en bus"),
        (lexicon.ARRIVE, "on time", "à l'heure"),
        (lexicon.ARRIVE, "late", "en retard"),
        (lexicon.STAY, "in bed", "au lit"),
        (lexicon.LEAVE, "very early", "très tôt"),
        (lexicon.LEAVE, "without a word", "sans un mot"),
        (lexicon.GO_OUT, "through the window", "par la fenêtre"),
    )
    action, en, fr = draw.pick(choices)
    tense = draw.pick(("past", "perfect", "past")) if not en.startswith("very ") else "past"
    time = past_time(draw) if tense == "past" else ("", "")
    pair = clause(who, action, tense, (en, fr))
    return Pair(*with_time(pair, time, draw)) if time[0] else Pair(*pair)


@construction
def birth(draw: Draw) -> Pair:
    """My grandmother was born in Lyon in 1956."""
    who = draw.pick((I, HE, SHE, WE, YOU, named(draw), person(draw), relative(draw)))
    place = location(draw)
    # Whoever has a profession or a nephew was not born yesterday.
    grown = who.noun is not None and (who.noun in ADULTS or who.noun.kind == "relative")
    year = draw.pick(tuple(y for y in YEARS if y < 1995) if grown else YEARS)
    fr = french.predicate(french.Verb("naître", "être"), who.person, "perfect", gender=who.gender, many=who.many)
    return Pair(
        f"{who.en} {english.to_be(who.person, True)} born {place[0]} in {year}", f"{who.fr} {fr} {place[1]} en {year}"
    )


ADULTS = tuple(n for n in lexicon.nouns("job", "person") if n.en not in ("boy", "girl", "child", "pupil", "student"))


@construction
def death(draw: Draw) -> Pair:
    """The old king died in 1968."""
    who = draw.pick((noun_phrase(draw.pick(ADULTS), "the"), relative(draw), named(draw)))
    fr = french.predicate(french.Verb("mourir", "être"), who.person, "perfect", gender=who.gender, many=who.many)
    year = draw.pick(YEARS)
    place = location(draw)
    return Pair(f"{who.en} died {place[0]} in {year}", f"{who.fr} {fr} {place[1]} en {year}")


@construction
def perfect_already(draw: Draw) -> Pair:
    """I have already read this book."""
    who = subject(draw)
    action, rest = done(draw, who)
    return Pair(*clause(who, action, "perfect", rest, adverb=("already", "déjà")))


def done(draw: Draw, who: Phrase, plain: bool = False) -> tuple[Action, Both]:
    """Gives what may be done already: not wearing a hat."""
    while True:
        action, rest = act(draw, who, plain=plain)
        if action.en.base != "wear":
            return action, rest


@construction
def imperfect_used_to(draw: Draw) -> Pair:
    """He used to drink coffee every evening."""
    who = subject(draw)
    action, rest = habit(draw, who)
    time = habit_time(draw) if action.en.base in HABITUAL and draw.chance(0.7) else ("", "")
    en, fr = clause(who, action, "used_to", rest)
    return Pair(f"{en} {time[0]}", f"{fr} {time[1]}")


@construction
def imperfect_interrupted(draw: Draw) -> Pair:
    """The cook was cutting the onions when the guests arrived."""
    who = subject(draw)
    action, rest = act(draw, who, ongoing=True, plain=True)
    other = someone(draw, who)
    event = draw.pick((lexicon.ARRIVE, lexicon.COME_BACK, lexicon.GO_OUT, lexicon.FALL))
    one, two = clause(who, action, "past_progressive", rest), clause(other, event, "past")
    return Pair(f"{one[0]} when {two[0]}", f"{one[1]} quand {two[1]}")


@construction
def future_event(draw: Draw) -> Pair:
    """They will sell the house next year."""
    who = subject(draw)
    action, rest = act(draw, who, willed=True)
    return Pair(*with_time(clause(who, action, "future", rest), future_time(draw, action), draw))


@construction
def future_motion(draw: Draw) -> Pair:
    """Paul will go to Portugal tomorrow."""
    who = subject(draw)
    action = draw.pick((lexicon.GO, lexicon.RETURN, lexicon.COME))
    goal = destination(draw)
    time = draw.pick(SHORTLY) if goal[0].startswith("to the ") else future_time(draw)
    return Pair(*with_time(clause(who, action, "future", goal), time, draw))


@construction
def near_future(draw: Draw) -> Pair:
    """I am going to repair my bicycle tomorrow."""
    who = subject(draw)
    action, rest = deed(draw, who, willed=True)
    return Pair(*with_time(clause(who, action, "going_to", rest), future_time(draw, action), draw))


@construction
def conditional_wish(draw: Draw) -> Pair:
    """She would like to learn Spanish."""
    who = subject(draw)
    action, rest = deed(draw, who, willed=True)
    fr = french_verb(who, lexicon.LIKE, "conditional")
    return Pair(f"{who.en} would like to {base(action, rest[0])}", f"{who.fr} {fr} {infinitive(action, who, rest[1])}")


@construction
def pluperfect(draw: Draw) -> Pair:
    """When we arrived, the cook had already prepared lunch."""
    who, other = subject(draw), subject(draw, 0)
    action, rest = done(draw, other, plain=True)
    one = clause(who, lexicon.ARRIVE, "past")
    two = clause(other, action, "pluperfect", rest, adverb=("already", "déjà"))
    return Pair(f"when {one[0]}, {two[0]}", f"quand {one[1]}, {two[1]}")


@construction
def recent_past(draw: Draw) -> Pair:
    """I have just washed the car."""
    who = subject(draw)
    action, rest = deed(draw, who)
    have = "has" if who.person == french.IL else "have"
    fr = french_verb(who, lexicon.COME, "present")
    return Pair(
        join(f"{who.en} {have} just {action.en.participle()} {action.en.particle} {rest[0]}"),
        f"{who.fr} {fr} de {infinitive(action, who, rest[1])}",
    )


@construction
def since_duration(draw: Draw) -> Pair:
    """He has been working in Rome for ten years."""
    who = subject(draw)
    number = draw.pick(lexicon.NUMBERS[1:15])
    unit = draw.pick((("years", "ans"), ("months", "mois"), ("weeks", "semaines")))
    action, rest = draw.pick(
        (
            (lexicon.LIVE, location(draw)),
            (lexicon.LIVE, location(draw)),
            (draw.pick(lexicon.INTRANSITIVE[1:2]), draw.pick((venue, location))(draw)),
            (study(draw)),
        )
    )
    have = "has" if who.person == french.IL else "have"
    fr = french_verb(who, action, "present")
    return Pair(
        f"{who.en} {have} been {ing(action, rest[0])} for {number[0]} {unit[0]}",
        f"{who.fr} {fr} {rest[1]} depuis {number[1]} {unit[1]}",
    )


def study(draw: Draw) -> tuple[Action, Both]:
    """Gives the study of a science or a language."""
    action = draw.pick(tuple(a for a in lexicon.TRANSITIVE if a.en.base in ("learn", "study", "teach")))
    phrase = generic(draw.pick(lexicon.nouns("science", "language")), False)
    return action, (phrase.en, phrase.fr)


# Negation


@construction
def negation_present(draw: Draw) -> Pair:
    """The boy does not eat any cheese."""
    who = subject(draw)
    action, rest = act(draw, who, negative=True)
    while action.en.base in SUDDEN:
        action, rest = act(draw, who, negative=True)
    tense = (
        "progressive"
        if action.progressive and not (action.en.base in HABITUAL and recurring(action, rest))
        else "present"
    )
    return Pair(*clause(who, action, tense, rest, negation="not"))


# The simple present of these tells of habits: "he does not find the key" is "he cannot find" it.
SUDDEN = ("find", "lose", "break", "receive", "steal", "begin", "finish", "cancel")


@construction
def negation_perfect(draw: Draw) -> Pair:
    """We did not find the key yesterday."""
    who = subject(draw)
    action, rest = act(draw, who, negative=True)
    tense = draw.pick(("past", "perfect"))
    en, fr = clause(who, action, tense, rest, negation="not")
    time = past_time(draw, action) if tense == "past" and draw.chance(0.5) else ("", "")
    return Pair(f"{en} {time[0]}", f"{fr} {time[1]}")


@construction
def negation_future(draw: Draw) -> Pair:
    """They will not visit the museum tomorrow."""
    who = subject(draw)
    action, rest = deed(draw, who, negative=True, willed=True)
    en, fr = clause(who, action, draw.pick(("future", "going_to")), rest, negation="not")
    time = future_time(draw, action) if draw.chance(0.5) else ("", "")
    return Pair(f"{en} {time[0]}", f"{fr} {time[1]}")


@construction
def negation_never(draw: Draw) -> Pair:
    """My brother has never visited the museum."""
    who = subject(draw)
    action, rest = uncounted(draw, who, negative=True)
    if action.en.base in ("sleep", "wait", "read", "eat") and action in lexicon.INTRANSITIVE:
        rest = setting(draw, action)
    return Pair(*clause(who, action, draw.pick(("present", "perfect", "future")), rest, negation="never"))


@construction
def negation_no_longer(draw: Draw) -> Pair:
    """The dancer no longer lives in Vienna."""
    who = subject(draw)
    choices = (
        deed(draw, who, negative=True, ongoing=True),
        (lexicon.LIVE, location(draw)),
        (lexicon.LIKE, liked(draw)),
    )
    action, rest = draw.pick(choices)
    tense = draw.pick(("present", "present", "future")) if action is not lexicon.LIKE else "present"
    return Pair(*clause(who, action, tense, rest, negation="no longer"))


def liked(draw: Draw) -> Both:
    """Gives something to like or to hate, taken in general."""
    phrase = generic(draw.pick(lexicon.nouns(*LIKED)))
    return phrase.en, phrase.fr


LIKED = (
    *(
        "fruit",
        "vegetable",
        "dish",
        "food",
        "drink",
        "animal",
        "wild",
        "sport",
        "science",
        "show",
        "plant",
        "gathering",
    ),
    *("text", "jewel"),
)


@construction
def negation_not_yet(draw: Draw) -> Pair:
    """I have not finished the letter yet."""
    who = subject(draw)
    action, rest = act(draw, who, negative=True)
    while not action.willed and action.en.base not in ("receive", "understand"):
        action, rest = act(draw, who, negative=True)
    return Pair(*clause(who, action, "perfect", rest, negation="not yet"))


NOTHING = tuple(
    action
    for action in lexicon.TRANSITIVE
    if action.en.base
    in (
        "eat",
        "drink",
        "buy",
        "sell",
        "write",
        "break",
        "lose",
        "find",
        "forget",
        "hide",
        "choose",
        "learn",
        "explain",
        "accept",
        "refuse",
        "receive",
        "steal",
        "order",
        "use",
        "repair",
        "understand",
        "hear",
    )
)


@construction
def negation_nothing(draw: Draw) -> Pair:
    """He did not buy anything at the market."""
    who = subject(draw)
    action = draw.pick(NOTHING)
    tense = draw.pick(("present", "past", "past", "future", "perfect"))
    if tense == "present" and action.en.base in SUDDEN:
        tense = "past"
    place = somewhere(draw) if draw.chance(0.5) else ("", "")
    time = time_for(draw, tense, action) if tense == "past" and draw.chance(0.4) else ("", "")
    fr = french_verb(who, action, tense, "rien")
    return Pair(
        f"{who.en} {verb_en(who, action, tense, 'not')} anything {place[0]} {time[0]}",
        f"{who.fr} {fr} {place[1]} {time[1]}",
    )


@construction
def negation_nobody(draw: Draw) -> Pair:
    """She did not see anybody on the beach."""
    who = subject(draw)
    action = draw.pick(lexicon.SOCIAL)
    tense = draw.pick(("present", "past", "past", "future"))
    if action.en.base == "know" and tense == "future":
        tense = "present"
    place = met(draw, action)
    fr = french_verb(who, action, tense, "personne")
    return Pair(
        f"{who.en} {verb_en(who, action, tense, 'not')} anybody {place[0]}",
        f"{who.fr} {fr} {place[1]}",
    )


NOBODY = Phrase("nobody", "personne")


@construction
def nobody_subject(draw: Draw) -> Pair:
    """Nobody closed the window."""
    tense = draw.pick(("past", "past", "future", "present"))
    action, rest = act(draw, I, willed=planned(tense), definite=True)
    if tense == "present" and action.progressive and action.en.base not in HABITUAL:
        tense = "past"
    fr = french_verb(NOBODY, action, tense, "ne")
    return Pair(f"nobody {verb_en(NOBODY, action, tense)} {rest[0]}", f"personne {fr} {rest[1]}")


@construction
def nothing_subject(draw: Draw) -> Pair:
    """Nothing is more useful than a good dictionary."""
    entry = draw.pick(lexicon.nouns("tool", "text", "device", "food", "drink", "show", "landscape", "jewel", "dish"))
    adjective = adjective_of(
        draw, entry, accept=lambda a: a.en in (("delicious",) if entry.kind in lexicon.GROCERY else SUPREME)
    )
    if adjective is None:
        return nothing_subject(draw)
    phrase = generic(entry, False) if entry.mass else noun_phrase(entry, "a")
    return Pair(f"nothing is more {adjective.en} than {phrase.en}", f"rien ne est plus {adjective.fr} que {phrase.fr}")


SUPREME = (
    "useful",
    "dangerous",
    "expensive",
    "interesting",
    "delicious",
    "comfortable",
    "important",
    "elegant",
    "difficult",
)
COLOURS = ("red", "blue", "green", "white", "black", "yellow", "grey", "brown", "pink", "purple")
NATIONS = (
    "French",
    "English",
    "American",
    "German",
    "Italian",
    "Spanish",
    "Japanese",
    "Chinese",
    "Belgian",
    "Portuguese",
)
PLAIN_ADJECTIVES = (
    *COLOURS,
    *NATIONS,
    *(
        "empty",
        "full",
        "broken",
        "round",
        "square",
        "wet",
        "ripe",
        "hot",
        "fresh",
        "alone",
        "beautiful",
        "ready",
    ),
    *("busy", "sick"),
)


@construction
def only(draw: Draw) -> Pair:
    """I have only two brothers."""
    who = subject(draw)
    number = draw.pick(lexicon.NUMBERS[1:10])
    if draw.chance(0.4):
        entry = draw.pick(
            tuple(
                n
                for n in lexicon.nouns("relative", "animal", "thing", "clothes")
                if n.en not in ("father", "mother", "boss") and suits(who, n)
            )
        )
        phrase = noun_phrase(entry, number[0], True)
        return Pair(
            f"{who.en} {verb_en(who, lexicon.HAVE, 'present')} only {phrase.en}",
            f"{who.fr} {french_verb(who, lexicon.HAVE, 'present', 'que')} {phrase.fr}",
        )
    action = draw.pick(tuple(a for a in ACTIONS if a.en.base in MULTIPLE))
    phrase = noun_phrase(draw.pick(countable(action)), number[0], True)
    return Pair(
        f"{who.en} {verb_en(who, action, 'past')} only {phrase.en}",
        f"{who.fr} {french_verb(who, action, 'past', 'que')} {phrase.fr}",
    )


MULTIPLE = (
    *(
        "eat",
        "buy",
        "sell",
        "read",
        "write",
        "break",
        "lose",
        "find",
        "receive",
        "order",
        "plant",
        "pick",
        "choose",
        "repair",
    ),
    *(
        "borrow",
        "translate",
        "copy",
        "sign",
        "visit",
        "photograph",
        "catch",
        "wash",
        "send",
        "use",
        "make",
        "steal",
        "draw",
    ),
)


@construction
def neither_nor(draw: Draw) -> Pair:
    """He likes neither coffee nor tea."""
    who = subject(draw)
    meals = ("fruit", "food", "drink", "vegetable", "dish")
    one, two = draw.pair(lexicon.nouns(*draw.pick((meals, meals, ("sport",), ("science",), ("wild",)))))
    first, second = generic(one), generic(two)
    return Pair(
        f"{who.en} {verb_en(who, lexicon.LIKE, 'present')} neither {first.en} nor {second.en}",
        f"{who.fr} {french_verb(who, lexicon.LIKE, 'present', 'ne')} ni {first.fr} ni {second.fr}",
    )


# Pronouns


@construction
def direct_person(draw: Draw) -> Pair:
    """He helps us every day."""
    who = subject(draw)
    other = other_pronoun(draw, who)
    action = draw.pick(tuple(a for a in lexicon.SOCIAL))
    tense = "present" if action.stative else draw.pick(("present", "future", "used_to"))
    time = time_for(draw, "present" if tense == "used_to" else tense, action) if not action.stative else ("", "")
    fr = french_verb(who, action, tense, clitics=(direct(other),))
    return Pair(f"{who.en} {verb_en(who, action, tense)} {object_en(other)} {time[0]}", f"{who.fr} {fr} {time[1]}")


@construction
def direct_person_perfect(draw: Draw) -> Pair:
    """We saw her at the station."""
    who = subject(draw)
    other = other_pronoun(draw, who)
    action = draw.pick(DYNAMIC_SOCIAL)
    negation = "not" if draw.chance(0.25) else ""
    fr = french_verb(who, action, "past", "pas" if negation else "", (direct(other),), (other.gender, other.many))
    place = met(draw, action)
    return Pair(
        f"{who.en} {verb_en(who, action, 'past', negation)} {object_en(other)} {place[0]}", f"{who.fr} {fr} {place[1]}"
    )


def met(draw: Draw, action: Action) -> Both:
    """Gives where people are met: one invites and follows them "to the hotel", and helps them "at the hotel"."""
    if action.en.base == "invite" and draw.chance(0.6):
        entry = lexicon.noun(
            draw.pick(("restaurant", "theatre", "cinema", "hotel", "castle", "museum", "beach", "farm"))
        )
        return f"to the {entry.en}", noun_phrase(entry, "the").after("à")
    if action.en.base in ("invite", "follow"):
        land = draw.pick((*lexicon.COUNTRIES, *lexicon.CITIES))
        return (f"to {land.en}", land.inside) if action.en.base == "invite" else destination(draw)
    return draw.pick((venue, location))(draw)


def antecedent(draw: Draw, action: Action, who: Phrase) -> Phrase:
    """Gives a thing the next clause takes up: "these apples", "the letter"."""
    entry = draw.pick(fitting(countable(action), action, who))
    single = entry.kind in ("room", "structure", "landscape", "area")
    return noun_phrase(entry, "the", (draw.chance(0.4) and not single) or several_worn(action, who))


def fitting(choices: tuple[Noun, ...], action: Action, who: Phrase) -> tuple[Noun, ...]:
    """Gives the things that a person may do the action to: men wear no dress."""
    return tuple(entry for entry in choices if action.en.base != "wear" or suits(who, entry))


def several_worn(action: Action, who: Phrase) -> bool:
    """Gives whether the thing must be plural, each of several people wearing one."""
    return action.en.base == "wear" and who.many


def it_en(phrase: Phrase) -> str:
    """Gives the English pronoun for a thing."""
    return "them" if phrase.many else "it"


def clitic(phrase: Phrase) -> str:
    """Gives the French direct object pronoun for a thing."""
    return "les" if phrase.many else "la" if phrase.gender == "f" else "le"


# What one has at hand and what one does with it afterwards.
CHAINS: tuple[tuple[str, str], ...] = (
    ("buy", "eat"),
    ("buy", "sell"),
    ("find", "take"),
    ("find", "hide"),
    ("find", "lose"),
    ("write", "send"),
    ("write", "sign"),
    ("write", "burn"),
    ("write", "check"),
    ("buy", "use"),
    ("buy", "break"),
    ("repair", "sell"),
    ("wash", "eat"),
    ("pick", "eat"),
    ("pick", "wash"),
    ("open", "close"),
    ("read", "translate"),
    ("read", "understand"),
    ("read", "forget"),
    ("choose", "buy"),
    ("borrow", "read"),
    ("borrow", "use"),
    ("borrow", "lose"),
    ("see", "photograph"),
    ("draw", "paint"),
    ("wash", "wear"),
    ("buy", "wear"),
    ("steal", "hide"),
    ("steal", "sell"),
    ("receive", "read"),
    ("make", "taste"),
    ("make", "burn"),
    ("clean", "paint"),
    ("find", "open"),
    ("fill", "carry"),
    ("carry", "open"),
    ("catch", "feed"),
    ("find", "touch"),
    ("count", "sell"),
    ("cut", "eat"),
    ("move", "clean"),
    ("push", "repair"),
)


def chain(draw: Draw, who: Phrase) -> tuple[Action, Action, Noun]:
    """Gives two actions that follow each other and a thing that suits both."""
    while True:
        first, second = draw.pick(CHAINS)
        one = next((a for a in lexicon.TRANSITIVE if a.en.base == first), None)
        two = next(a for a in lexicon.TRANSITIVE if a.en.base == second)
        if one is None:
            continue
        shared = tuple(entry for entry in countable(one) if entry in lexicon.objects_of(two))
        if fitting(shared, two, who):
            return one, two, draw.pick(fitting(shared, two, who))


@construction
def direct_thing_perfect(draw: Draw) -> Pair:
    """She bought two dresses, and she wore them."""
    who = subject(draw)
    one, two, entry = chain(draw, who)
    many = (draw.chance(0.5) and entry.kind not in ("room", "structure", "device")) or several_worn(two, who)
    phrase = noun_phrase(entry, draw.pick(("the", "these", "some") if many else ("the", "a")), many)
    again = pronoun(who)
    fr = french_verb(again, two, "past", clitics=(clitic(phrase),), agreement=(phrase.gender, phrase.many))
    first = clause(who, one, "past", complement(one, phrase))
    return Pair(
        f"{first[0]} and then {again.en} {verb_en(again, two, 'past')} {it_en(phrase)}",
        f"{first[1]} et puis {again.fr} {fr}",
    )


@construction
def direct_thing_negative(draw: Draw) -> Pair:
    """I wanted to sign the letters, but I have not signed them."""
    who = subject(draw)
    action = draw.pick(WILLED)
    phrase = antecedent(draw, action, who)
    again = pronoun(who)
    have = verb_en(again, action, "perfect", "not")
    fr = french_verb(again, action, "perfect", "pas", (clitic(phrase),), (phrase.gender, phrase.many))
    lead = draw.pick(
        (
            (
                f"{who.en} {verb_en(who, lexicon.WANT, 'past')} to {base(action)} {phrase.en}",
                f"{who.fr} {french_verb(who, lexicon.WANT, 'past')} {infinitive(action, who, phrase.fr)}",
            ),
        )
    )
    return Pair(f"{lead[0]}, but {again.en} {have} {it_en(phrase)}", f"{lead[1]}, mais {again.fr} {fr}")


@construction
def direct_thing_present(draw: Draw) -> Pair:
    """Here is the letter: I am going to sign it."""
    action = draw.pick(WILLED)
    who = draw.pick(PRONOUNS)
    phrase = antecedent(draw, action, who)
    while (phrase.noun is not None and phrase.noun.kind not in HANDED) or action.en.base in CREATING:
        action = draw.pick(WILLED)
        phrase = antecedent(draw, action, who)
    tense = draw.pick(("going_to", "future", "future"))
    fr = french_verb(who, action, tense, clitics=(clitic(phrase),))
    verb = "are" if phrase.many else "is"
    time = draw.pick(SHORTLY)
    return Pair(
        f"here {verb} {phrase.en}: {who.en} {verb_en(who, action, tense)} {it_en(phrase)} {time[0]}",
        f"voici {phrase.fr} : {who.fr} {fr} {time[1]}",
    )


# What is here was written, made and found before.
CREATING = ("write", "make", "build", "find")
# What one may hold out or point to.
HANDED = (*lexicon.GOODS, "fruit", "vegetable", "dish", "animal", "plant", "vehicle", "opening", "building")


@construction
def indirect_person(draw: Draw) -> Pair:
    """My uncle gives me a book."""
    who = subject(draw)
    other = other_pronoun(draw, who)
    action = draw.pick(lexicon.GIVING)
    phrase = object_phrase(draw, draw.pick(lexicon.objects_of(action)), who)
    tense = draw.pick(("progressive", "past", "past", "future"))
    time = time_for(draw, tense, action) if tense != "progressive" else ("", "")
    fr = french_verb(who, action, tense, clitics=(indirect(other),))
    return Pair(
        f"{who.en} {verb_en(who, action, tense)} {phrase.en} to {object_en(other)} {time[0]}",
        f"{who.fr} {fr} {phrase.fr} {time[1]}",
    )


@construction
def indirect_verb(draw: Draw) -> Pair:
    """The pupils obey him."""
    who = subject(draw)
    other = other_pronoun(draw, who)
    action = draw.pick(lexicon.INDIRECT)
    tense = draw.pick(("present", "past", "future", "used_to"))
    negation = draw.pick(("", "not", "never")) if tense != "used_to" else ""
    fr_negation = {"": "", "not": "pas", "never": "jamais"}[negation]
    if negation == "never" and tense == "past":
        tense = "perfect"
    fr = french_verb(who, action, tense, fr_negation, (indirect(other),))
    return Pair(f"{who.en} {verb_en(who, action, tense, negation)} {object_en(other)}", f"{who.fr} {fr}")


@construction
def dative_noun(draw: Draw) -> Pair:
    """The postman brought a letter to the mayor."""
    who = subject(draw)
    action = draw.pick(lexicon.GIVING)
    phrase = object_phrase(draw, draw.pick(lexicon.objects_of(action)), who)
    other = someone(draw, who)
    tense = draw.pick(("past", "past", "future", "going_to"))
    en, fr = clause(who, action, tense, phrase_to(phrase, other))
    return Pair(en, fr)


def phrase_to(phrase: Phrase, other: Phrase) -> Both:
    """Gives a thing and the person it goes to."""
    return f"{phrase.en} to {other.en}", f"{phrase.fr} {other.after('à')}"


def ordered(to: Phrase, phrase: Phrase) -> tuple[str, str]:
    """Gives the two object pronouns in the order French wants: "me le", but "le lui"."""
    person, object_ = indirect(to), clitic(phrase)
    return (object_, person) if person in ("lui", "leur") else (person, object_)


@construction
def double_pronoun(draw: Draw) -> Pair:
    """The teacher has the map, and he will lend it to us."""
    who = subject(draw)
    again = pronoun(who)
    other = other_pronoun(draw, who)
    action = draw.pick(
        tuple(a for a in lexicon.GIVING if a.en.base in ("give", "lend", "show", "send", "bring", "sell"))
    )
    entry = draw.pick(countable(action))
    phrase = noun_phrase(entry, "the", draw.chance(0.35))
    tense = draw.pick(("future", "perfect", "going_to"))
    agreement = (phrase.gender, phrase.many)
    negation = draw.chance(0.4)
    fr = french_verb(again, action, tense, "pas" if negation else "", ordered(other, phrase), agreement)
    link = ("but", "mais") if negation else ("and", "et")
    return Pair(
        f"{who.en} {verb_en(who, lexicon.HAVE, 'present')} {phrase.en}, {link[0]} {again.en} "
        f"{verb_en(again, action, tense, 'not' if negation else '')} {it_en(phrase)} to {object_en(other)}",
        f"{who.fr} {french_verb(who, lexicon.HAVE, 'present')} {phrase.fr}, {link[1]} {again.fr} {fr}",
    )


@construction
def there_pronoun(draw: Draw) -> Pair:
    """I know this restaurant because I go there every week."""
    who = subject(draw)
    again = pronoun(who)
    entry = draw.pick(lexicon.nouns("venue"))
    phrase = noun_phrase(entry, "this")
    time = habit_time(draw)
    know = french_verb(who, lexicon.SOCIAL[1], "present")
    visit = french_verb(again, lexicon.GO, "present", clitics=("y",))
    return Pair(
        f"{who.en} {verb_en(who, lexicon.SOCIAL[1], 'present')} {phrase.en} because "
        f"{again.en} {verb_en(again, lexicon.GO, 'present')} there {time[0]}",
        f"{who.fr} {know} {phrase.fr} parce que {again.fr} {visit} {time[1]}",
    )


@construction
def some_pronoun(draw: Draw) -> Pair:
    """These pears are ripe, and I want three of them."""
    adjective = draw.pick(tuple(a for a in lexicon.ADJECTIVES if a.en in ("delicious", "fresh", "expensive", "good")))
    entry = draw.pick(lexicon.nouns("fruit", "dish"))
    if adjective.en == "fresh" and entry.kind != "fruit":
        entry = draw.pick(lexicon.nouns("fruit"))
    phrase = noun_phrase(entry, draw.pick(("these", "the")), True)
    who = draw.pick((I, HE, SHE, WE, YOU, THEY, named(draw)))
    number = draw.pick(lexicon.NUMBERS[1:10])
    action, tense = draw.pick(
        (
            (lexicon.WANT, "present"),
            (next(a for a in lexicon.TRANSITIVE if a.en.base == "buy"), "past"),
            (next(a for a in lexicon.TRANSITIVE if a.en.base == "eat"), "past"),
            (next(a for a in lexicon.TRANSITIVE if a.en.base == "buy"), "future"),
        )
    )
    fr = french_verb(who, action, tense, clitics=("en",))
    link = draw.pick((("and", "et"), ("but", "mais"))) if adjective.en == "expensive" else ("and", "et")
    return Pair(
        f"{phrase.en} are {adjective.en}, {link[0]} {who.en} {verb_en(who, action, tense)} {number[0]} of them",
        f"{phrase.fr} sont {be_adjective(phrase, adjective)}, {link[1]} {who.fr} {fr} {number[1]}",
    )


@construction
def stressed_pronoun(draw: Draw) -> Pair:
    """Marie is going to leave with us."""
    who = subject(draw)
    other = other_pronoun(draw, who)
    preposition = draw.pick((("with", "avec"), ("without", "sans"), ("after", "après"), ("before", "avant")))
    action, rest = draw.pick(
        (
            (lexicon.LEAVE, ("", "")),
            (lexicon.ARRIVE, ("", "")),
            (lexicon.INTRANSITIVE[1], ("", "")),
            (lexicon.INTRANSITIVE[3], ("", "")),
            (lexicon.GO, destination(draw)),
            (lexicon.GO, destination(draw)),
            (lexicon.COME_BACK, ("", "")),
        )
    )
    if not (action is lexicon.LEAVE or action is lexicon.ARRIVE or action is lexicon.COME_BACK):
        preposition = draw.pick((("with", "avec"), ("without", "sans")))
    tense = draw.pick(("past", "future", "going_to"))
    en, fr = clause(who, action, tense, rest)
    return Pair(f"{en} {preposition[0]} {object_en(other)}", f"{fr} {preposition[1]} {stressed(other)}")


# Orders


def order_en(action: Action, rest: str, negative: bool = False) -> str:
    """Gives an English order."""
    return ("do not " if negative else "") + base(action, rest)


@construction
def order(draw: Draw) -> Pair:
    """Open the window, please."""
    action, rest = act(draw, YOU, willed=True)
    while action.en.base in ("touch", "admire"):
        action, rest = act(draw, YOU, willed=True)
    mark = draw.pick((".", "!", "."))
    please = (", please", ", s'il vous plaît") if draw.chance(0.6) else ("", "")
    fr = french.imperative_group(action.fr, french.VOUS)
    return Pair(order_en(action, rest[0]) + please[0], f"{fr} {rest[1]}{please[1]}", mark)


@construction
def order_negative(draw: Draw) -> Pair:
    """Do not touch these paintings!"""
    action, rest = act(draw, YOU, definite=True)
    if not action.willed and action.en.base not in ("lose", "forget", "break", "burn"):
        return order_negative(draw)
    fr = french.imperative_group(action.fr, french.VOUS, negation="pas")
    return Pair(order_en(action, rest[0], True), f"{fr} {rest[1]}", draw.pick((".", "!")))


@construction
def order_pronoun(draw: Draw) -> Pair:
    """Take the book and give it to me."""
    who = draw.pick((I, HE, SHE, WE, THEY))
    giving = draw.pick(
        tuple(a for a in lexicon.GIVING if a.en.base in ("give", "send", "show", "bring", "lend", "sell"))
    )
    leading = draw.pick(
        tuple(a for a in lexicon.TRANSITIVE if a.en.base in ("take", "find", "choose", "buy", "borrow"))
    )
    shared = tuple(entry for entry in countable(giving) if entry in lexicon.objects_of(leading))
    if not shared:
        return order_pronoun(draw)
    phrase = noun_phrase(draw.pick(shared), draw.pick(("the", "this")), False)
    if draw.chance(0.4):
        phrase = noun_phrase(draw.pick(shared), draw.pick(("the", "these")), True)
    fr = french.imperative_group(giving.fr, french.VOUS, (clitic(phrase), indirect(who)))
    lead = french.imperative_group(leading.fr, french.VOUS)
    return Pair(
        f"{order_en(leading, phrase.en)} and {base(giving)} {it_en(phrase)} to {object_en(who)}",
        f"{lead} {phrase.fr} et {fr}",
    )


@construction
def order_pronoun_negative(draw: Draw) -> Pair:
    """This letter belongs to Paul: do not show it to them."""
    giving = draw.pick(tuple(a for a in lexicon.GIVING if a.en.base in ("give", "send", "show", "lend", "sell")))
    phrase = noun_phrase(draw.pick(countable(giving)), "this", False)
    if draw.chance(0.4):
        phrase = noun_phrase(draw.pick(countable(giving)), "these", True)
    reason = draw.pick(
        (
            ("belong to my father", "appartenir à mon père"),
            ("belong to the teacher", "appartenir au professeur"),
            ("belong to Paul", "appartenir à Paul"),
            ("belong to my sister", "appartenir à ma sœur"),
        )
    )
    # The owner is not whom it is kept from.
    who = draw.pick((I, SHE, WE, THEY) if reason[0] != "belong to my sister" else (I, HE, WE, THEY))
    verb = lexicon.BELONG
    en = verb_en(phrase, verb, "present") + reason[0].removeprefix("belong to")
    fr = french_verb(phrase, verb, "present") + reason[1].removeprefix("appartenir")
    order_fr = french.imperative_group(giving.fr, french.VOUS, ordered(who, phrase), "pas")
    return Pair(
        f"{phrase.en} {en}: do not {base(giving)} {it_en(phrase)} to {object_en(who)}",
        f"{phrase.fr} {fr} : {order_fr}",
    )


@construction
def order_reflexive(draw: Draw) -> Pair:
    """Get up at seven o'clock!"""
    action, complements = draw.pick(
        tuple((a, ORDERED[a.en.particle]) for a in lexicon.REFLEXIVES if a.en.particle in ORDERED)
    )
    negative = action.en.base == "complain" or draw.chance(0.4)
    time = (
        hour(draw, True)
        if draw.chance(0.5) and action.en.base not in STILL
        else draw.pick(_MOMENTS if action.en.base in ("hurry", "complain") else complements)
    )
    fr = french.imperative_group(action.fr, french.VOUS, negation="pas" if negative else "")
    return Pair(order_en(action, time[0], negative), f"{fr} {time[1]}", draw.pick((".", "!")))


_MOMENTS: tuple[Both, ...] = (("now", "maintenant"), ("this evening", "ce soir"), ("tomorrow", "demain"), ("", ""))
_SPOTS: tuple[Both, ...] = (
    ("here", "ici"),
    ("in the garden", "dans le jardin"),
    ("in the corridor", "dans le couloir"),
)
# What may follow the order, by the particle of the English verb.
ORDERED: dict[str, tuple[Both, ...]] = {
    "up": (("now", "maintenant"), ("early tomorrow", "tôt demain"), ("", "")),
    "dressed": (
        ("now", "maintenant"),
        ("quickly", "rapidement"),
        ("in the bedroom", "dans la chambre"),
        ("in the bathroom", "dans la salle de bains"),
    ),
    "to bed": (("now", "maintenant"), ("early this evening", "tôt ce soir"), ("", "")),
    "for a walk": (*_MOMENTS, ("in the garden", "dans le jardin")),
    "down": (*_SPOTS, ("in the kitchen", "dans la cuisine"), ("in the armchair", "dans le fauteuil")),
    "fun": (*_MOMENTS, *_SPOTS),
    "": (("now", "maintenant"), *_SPOTS, ("", "")),
}
# No hour is set for these.
STILL = ("hurry", "complain", "sit", "have")


@construction
def suggestion(draw: Draw) -> Pair:
    """Let us visit the castle tomorrow."""
    action, rest = act(draw, WE, willed=True)
    time = draw.pick(
        (
            ("tomorrow", "demain"),
            ("", ""),
            ("together", "ensemble"),
            ("tonight", "ce soir"),
            ("now", "maintenant"),
            ("tomorrow morning", "demain matin"),
        )
    )
    if action.en.base == "build":
        time = ("together", "ensemble")
    fr = french.imperative_group(action.fr, french.NOUS)
    return Pair(f"let us {base(action, rest[0])} {time[0]}", f"{fr} {rest[1]} {time[1]}", draw.pick((".", "!")))


# Questions


def asked(who: Phrase, action: Action, tense: str, rest: Both) -> Both:
    """Gives a question whose answer is yes or no."""
    tense = ahead(action, tense)
    en = english.question(action.en, who.person, tense, who.en)
    return join(f"{en} {rest[0]}"), join(f"est-ce que {who.fr} {french_verb(who, action, tense)} {rest[1]}")


@construction
def question_present(draw: Draw) -> Pair:
    """Does she read the newspaper every day?"""
    who = interlocutor(draw)
    action, rest = habit(draw, who)
    en, fr = asked(who, action, "present", rest)
    time = habit_time(draw) if action.en.base in HABITUAL else ("", "")
    return Pair(f"{en} {time[0]}", f"{fr} {time[1]}", "?")


@construction
def question_progressive(draw: Draw) -> Pair:
    """Are the children sleeping?"""
    who = interlocutor(draw)
    action, rest = deed(draw, who, ongoing=True)
    return Pair(*asked(who, action, "progressive", rest), "?")


@construction
def question_past(draw: Draw) -> Pair:
    """Did you close the door?"""
    who = interlocutor(draw)
    action, rest = deed(draw, who)
    return Pair(*asked(who, action, draw.pick(("past", "perfect")), rest), "?")


@construction
def question_future(draw: Draw) -> Pair:
    """Will Paul go to the market?"""
    who = interlocutor(draw)
    action, rest = draw.pick((deed(draw, who, willed=True), (lexicon.GO, destination(draw))))
    return Pair(*asked(who, action, draw.pick(("future", "going_to")), rest), "?")


@construction
def question_can(draw: Draw) -> Pair:
    """Can you open the window, please?"""
    who = YOU if draw.chance(0.6) else draw.pick((HE, SHE, WE, THEY))
    action, rest = deed(draw, who, willed=True)
    please = (", please", ", s'il vous plaît") if who is YOU and draw.chance(0.6) else ("", "")
    lead = ("could", french.simple_form("pouvoir", "conditional", who.person)) if draw.chance(0.3) else ("can", "")
    verb = lead[1] or french.simple_form("pouvoir", "present", who.person)
    return Pair(
        f"{lead[0]} {who.en} {base(action, rest[0])}{please[0]}",
        f"{verb}-{who.fr} {infinitive(action, who, rest[1])}{please[1]}",
        "?",
    )


@construction
def question_want(draw: Draw) -> Pair:
    """Do you want a glass of water?"""
    if draw.chance(0.5):
        portion = portion_of(draw, wish=True)
        return Pair(f"would you like {portion[0]}", f"voulez-vous {portion[1]}", "?")
    action = draw.pick(tuple(a for a in lexicon.TRANSITIVE if a.en.base in WISHED))
    rest = object_of(draw, action, YOU, plain=True)
    return Pair(f"would you like to {base(action, rest[0])}", f"voudriez-vous {infinitive(action, YOU, rest[1])}", "?")


WISHED = (
    *(
        "eat",
        "drink",
        "visit",
        "read",
        "watch",
        "rent",
        "buy",
        "learn",
        "order",
        "taste",
        "choose",
        "borrow",
        "study",
        "draw",
    ),
    *("photograph", "plant", "sell", "pick", "organise"),
)


@construction
def question_what(draw: Draw) -> Pair:
    """What is your brother reading?"""
    who = interlocutor(draw)
    action = draw.pick(tuple(a for a in ONGOING if a.en.base in WHAT))
    tense = draw.pick(("progressive", "past", "future", "going_to"))
    place = draw.pick((venue, location))(draw) if draw.chance(0.4) else ("", "")
    time = time_for(draw, tense, action) if tense == "past" and draw.chance(0.5) else ("", "")
    return Pair(
        f"what {english.question(action.en, who.person, tense, who.en)} {place[0]} {time[0]}",
        f"qu'est-ce que {who.fr} {french_verb(who, action, tense)} {place[1]} {time[1]}",
        "?",
    )


WHAT = (
    *(
        "eat",
        "drink",
        "buy",
        "sell",
        "read",
        "write",
        "make",
        "prepare",
        "wash",
        "repair",
        "hide",
        "choose",
        "wear",
        "carry",
    ),
    *(
        "draw",
        "build",
        "learn",
        "teach",
        "study",
        "describe",
        "sing",
        "explain",
        "translate",
        "order",
        "photograph",
        "paint",
    ),
)


@construction
def question_who(draw: Draw) -> Pair:
    """Who broke this glass?"""
    who = Phrase("who", "qui")
    tense = draw.pick(("past", "past", "future"))
    action, rest = deed(draw, I, willed=planned(tense))
    return Pair(*clause(who, action, tense, rest), "?")


@construction
def question_whom(draw: Draw) -> Pair:
    """Who did you meet on the beach?"""
    who = interlocutor(draw)
    action = draw.pick(tuple(a for a in DYNAMIC_SOCIAL if a.en.particle == "" or a.en.base in ("wait", "look")))
    tense = ahead(action, draw.pick(("past", "going_to", "future", "past")))
    # Not "who did you look at at the market".
    place = location(draw) if action.en.particle == "at" else met(draw, action)
    return Pair(
        f"who {english.question(action.en, who.person, tense, who.en)} {place[0]}",
        f"qui est-ce que {who.fr} {french_verb(who, action, tense)} {place[1]}",
        "?",
    )


@construction
def question_where_is(draw: Draw) -> Pair:
    """Where are my grey socks?"""
    entry = draw.pick(
        lexicon.nouns("thing", "tool", "clothes", "footwear", "animal", "jewel", "dishes", "relative", "venue", "text")
    )
    many = entry.kind not in ("relative", "venue") and draw.chance(0.5)
    owner = draw.pick(PRONOUNS)
    if not suits(owner, entry):
        return question_where_is(draw)
    many = many or (owner.many and personal(entry))
    determiner = (
        "the" if entry.kind in ("venue", "tool", "dishes") or (draw.chance(0.3) and entry.kind != "relative") else "own"
    )
    adjective = adjective_of(draw, entry) if entry.kind in ("clothes", "footwear") and draw.chance(0.6) else None
    phrase = noun_phrase(entry, determiner, many, adjective, owner)
    return Pair(f"where {'are' if many else 'is'} {phrase.en}", f"où {'sont' if many else 'est'} {phrase.fr}", "?")


@construction
def question_where(draw: Draw) -> Pair:
    """Where did the baker buy this flour?"""
    who = interlocutor(draw)
    tense = draw.pick(("past", "past", "future", "going_to"))
    action, rest = placed(draw, who, planned(tense))
    return Pair(
        f"where {english.question(action.en, who.person, tense, who.en)} {rest[0]}",
        f"où est-ce que {who.fr} {french_verb(who, action, tense)} {rest[1]}",
        "?",
    )


def placed(draw: Draw, who: Phrase, ahead: bool) -> tuple[Action, Both]:
    """Gives something whose place one may ask for."""
    action = draw.pick(tuple(a for a in lexicon.TRANSITIVE if a.en.base in PLACED and (a.willed or not ahead)))
    return action, object_of(draw, action, who, plain=True)


PLACED = (
    *(
        "buy",
        "sell",
        "find",
        "lose",
        "learn",
        "teach",
        "study",
        "wash",
        "repair",
        "hide",
        "eat",
        "drink",
        "break",
        "steal",
    ),
    *(
        "build",
        "plant",
        "catch",
        "photograph",
        "borrow",
        "rent",
        "watch",
        "order",
        "receive",
        "read",
        "write",
        "organise",
    ),
)


@construction
def question_when(draw: Draw) -> Pair:
    """When will the guests arrive?"""
    who = interlocutor(draw)
    action, rest = draw.pick(
        (
            deed(draw, who, willed=True),
            (lexicon.ARRIVE, ("", "")),
            (lexicon.LEAVE, ("", "")),
            (lexicon.GO, destination(draw)),
        )
    )
    tense = ahead(action, draw.pick(("past", "future", "going_to")))
    return Pair(
        f"when {english.question(action.en, who.person, tense, who.en)} {rest[0]}",
        f"quand est-ce que {who.fr} {french_verb(who, action, tense)} {rest[1]}",
        "?",
    )


@construction
def question_why(draw: Draw) -> Pair:
    """Why are you crying?"""
    who = interlocutor(draw)
    action, rest = deed(draw, who, ongoing=True)
    tense = draw.pick(("past", "progressive", "past"))
    return Pair(
        f"why {english.question(action.en, who.person, tense, who.en)} {rest[0]}",
        f"pourquoi est-ce que {who.fr} {french_verb(who, action, tense)} {rest[1]}",
        "?",
    )


@construction
def question_how_many(draw: Draw) -> Pair:
    """How many pears did she eat?"""
    who = interlocutor(draw)
    action = draw.pick(tuple(a for a in ACTIONS if a.en.base in MULTIPLE))
    entry = draw.pick(countable(action))
    tense = draw.pick(("past", "past", "perfect", "future")) if action.willed else "past"
    fr = french_verb(who, action, tense, agreement=(entry.gender, True))
    return Pair(
        f"how many {entry.english(True)} {english.question(action.en, who.person, tense, who.en)}",
        f"combien de {entry.french(True)} est-ce que {who.fr} {fr}",
        "?",
    )


@construction
def question_which(draw: Draw) -> Pair:
    """Which dress did your sister choose?"""
    who = interlocutor(draw)
    action = draw.pick(
        tuple(a for a in ACTIONS if a.en.base in (*MULTIPLE, "watch", "clean", "paint", "rent", "explain"))
    )
    entry = draw.pick(countable(action))
    many = draw.chance(0.4) and entry.kind not in ("room", "device", "structure")
    phrase = noun_phrase(entry, "which", many)
    tense = draw.pick(("past", "past", "future")) if action.willed else "past"
    fr = french_verb(who, action, tense, agreement=(entry.gender, many))
    return Pair(
        f"{phrase.en} {english.question(action.en, who.person, tense, who.en)}",
        f"{phrase.fr} est-ce que {who.fr} {fr}",
        "?",
    )


@construction
def question_whose(draw: Draw) -> Pair:
    """Whose umbrella is this?"""
    entry = draw.pick(
        lexicon.nouns(
            "thing", "clothes", "footwear", "jewel", "vehicle", "ride", "text", "container", "building", "animal"
        )
    )
    if entry.en in ("tower", "bridge", "palace", "bus"):
        entry = lexicon.noun("house")
    many = draw.chance(0.4)
    phrase = noun_phrase(entry, "these" if many else "this", many)
    return Pair(
        f"whose {entry.english(many)} {'are these' if many else 'is this'}",
        f"à qui {'sont' if many else 'est'} {phrase.fr}",
        "?",
    )


@construction
def question_price(draw: Draw) -> Pair:
    """How much do these boots cost?"""
    entry = draw.pick(
        lexicon.nouns(
            "clothes", "footwear", "jewel", "furniture", "device", "fruit", "dish", "text", "instrument", "thing"
        )
    )
    many = draw.chance(0.5) or entry.kind in ("footwear", "fruit")
    adjective = adjective_of(draw, entry, accept=lambda a: a.en != "expensive") if draw.chance(0.4) else None
    phrase = noun_phrase(entry, "these" if many else "this", many, adjective)
    return Pair(
        f"how much {'do' if many else 'does'} {phrase.en} cost",
        f"combien {'coûtent' if many else 'coûte'} {phrase.fr}",
        "?",
    )


@construction
def question_age(draw: Draw) -> Pair:
    """How old is your cousin?"""
    who = draw.pick((HE, SHE, YOU, THEY, named(draw), person(draw), person(draw), relative(draw), relative(draw)))
    verb = english.to_be(who.person)
    if who in PRONOUNS:
        fr = french.predicate(french.Verb("avoir"), who.person, "present", inverted=who.fr)
        return Pair(f"how old {verb} {who.en}", f"quel âge {fr}", "?")
    fr = french_verb(who, lexicon.HAVE, "present")
    return Pair(f"how old {verb} {who.en}", f"quel âge {fr} {who.fr}", "?")


@construction
def question_indirect(draw: Draw) -> Pair:
    """Do you know where the judge lives?"""
    who = someone(draw, YOU)
    tense = draw.pick(("past", "future"))
    action, rest = deed(draw, who, willed=planned(tense))
    en, fr = clause(who, action, tense, rest)
    word = draw.pick((("why", "pourquoi"), ("when", "quand"), ("where", "où"), ("if", "si"), ("how", "comment")))
    known = {"where": action.en.base in PLACED, "how": action.progressive}
    if not known.get(word[0], True) or (word[0] in known and action not in ACTIONS):
        word = ("why", "pourquoi")
    return Pair(f"do you know {word[0]} {en}", f"savez-vous {word[1]} {fr}", "?")


# Relative clauses


@construction
def relative_subject(draw: Draw) -> Pair:
    """The man who lives in Rome is a doctor."""
    entry = draw.pick(tuple(n for n in lexicon.nouns("person") if n.en not in ("worker", "champion")))
    who = noun_phrase(entry, "the")
    job = noun_phrase(draw.pick(lexicon.NOUNS["job"]), "a")
    work = (lexicon.INTRANSITIVE[1], venue(draw)) if entry.en not in ROYAL else (lexicon.LIVE, location(draw))
    action, rest = draw.pick(((lexicon.LIVE, location(draw)), work, act(draw, who, plain=True)))
    tense = "present" if action in (lexicon.LIVE, lexicon.INTRANSITIVE[1]) else "past"
    one = clause(replace(who, en="who", fr="qui"), action, tense, rest)
    if entry.en not in ("man", "tourist", "guest", "customer", "traveller") or draw.chance(0.4):
        adjective = adjective_of(draw, entry, False, lambda a: a.en not in PLAIN_ADJECTIVES)
        if adjective is not None:
            return Pair(f"{who.en} {one[0]} is {adjective.en}", f"{who.fr} {one[1]} est {be_adjective(who, adjective)}")
    assert job.noun is not None
    return Pair(f"{who.en} {one[0]} is {job.en}", f"{who.fr} {one[1]} est {job.noun.fr}")


# Nobody hires these.
ROYAL = ("king", "queen", "prince", "princess", "president", "minister", "mayor")


@construction
def relative_subject_object(draw: Draw) -> Pair:
    """I know the woman who wrote this letter."""
    who = subject(draw)
    other = noun_phrase(draw.pick(lexicon.nouns("job", "person")), "the", draw.chance(0.35))
    action, rest = act(draw, other, plain=True)
    lead = draw.pick(lexicon.SOCIAL)
    tense = "present" if lead.stative else draw.pick(("past", "going_to"))
    one = clause(who, lead, tense, complement(lead, other))
    two = clause(replace(other, en="who", fr="qui"), action, "past", rest)
    return Pair(f"{one[0]} {two[0]}", f"{one[1]} {two[1]}")


@construction
def relative_object(draw: Draw) -> Pair:
    """The apples that I bought are delicious."""
    who = subject(draw)
    while True:
        action = draw.pick(ACTIONS)
        entry = draw.pick(fitting(countable(action), action, who))
        adjective = adjective_of(
            draw, entry, False, lambda a: a.en not in ("ready", "better", "ripe") and a.en not in NATIONS
        )
        if adjective is not None and (action.en.base, adjective.en) not in ODD_RESULTS:
            break
    many = (draw.chance(0.5) and entry.kind not in ("room", "structure")) or several_worn(action, who)
    phrase = noun_phrase(entry, "the", many)
    fr = french_verb(who, action, "past", agreement=(entry.gender, many))
    return Pair(
        f"{phrase.en} that {who.en} {verb_en(who, action, 'past')} {'are' if many else 'is'} {adjective.en}",
        f"{phrase.fr} que {who.fr} {fr} {'sont' if many else 'est'} {be_adjective(phrase, adjective)}",
    )


ODD_RESULTS = (("eat", "expensive"), ("repair", "broken"), ("wash", "dirty"), ("clean", "dirty"), ("fill", "empty"))


@construction
def relative_object_where(draw: Draw) -> Pair:
    """Where are the letters that you wrote?"""
    action = draw.pick(tuple(a for a in ACTIONS if a.en.base in MOVABLE))
    who = subject(draw)
    things = tuple(n for n in countable(action) if n.kind not in ("building", "area", "venue"))
    entry = draw.pick(fitting(things, action, who))
    many = draw.chance(0.5) or several_worn(action, who)
    phrase = noun_phrase(entry, "the", many)
    fr = french_verb(who, action, "past", agreement=(entry.gender, many))
    return Pair(
        f"where {'are' if many else 'is'} {phrase.en} that {who.en} {verb_en(who, action, 'past')}",
        f"où {'sont' if many else 'est'} {phrase.fr} que {who.fr} {fr}",
        "?",
    )


MOVABLE = (
    *(
        "buy",
        "write",
        "wash",
        "clean",
        "repair",
        "find",
        "borrow",
        "receive",
        "translate",
        "sign",
        "choose",
        "hide",
        "wear",
    ),
    *("steal", "use", "fill", "order", "catch", "copy", "draw"),
)


@construction
def relative_dont(draw: Draw) -> Pair:
    """This is the film that we were talking about."""
    who = subject(draw)
    entry = draw.pick(lexicon.nouns("show", "text", "writing", "gathering", "idea", "building", "venue", "area"))
    many = draw.chance(0.3)
    phrase = noun_phrase(entry, "the", many)
    tense = draw.pick(("past_progressive", "progressive"))
    fr = french_verb(who, lexicon.TALK_ABOUT, tense)
    lead = ("these are", "ce sont") if many else ("this is", "c'est")
    return Pair(
        f"{lead[0]} {phrase.en} that {who.en} {verb_en(who, lexicon.TALK_ABOUT, tense)}",
        f"{lead[1]} {phrase.fr} dont {who.fr} {fr}",
    )


@construction
def relative_whose(draw: Draw) -> Pair:
    """I know a painter whose house is in Spain."""
    who = subject(draw)
    other = noun_phrase(draw.pick(ADULTS), "a")
    owned = draw.pick(lexicon.nouns("relative"))
    job = draw.pick(lexicon.NOUNS["job"])
    know = lexicon.SOCIAL[1]
    one = clause(who, know, "present", complement(know, other))
    verb = ("is", "est")
    if owned.gender == "f":
        adjective = adjective_of(draw, owned, False)
        if adjective is None:
            return relative_whose(draw)
        return Pair(
            f"{one[0]} whose {owned.en} {verb[0]} {adjective.en}",
            f"{one[1]} dont la {owned.fr} {verb[1]} {french.agree(adjective.fr, 'f', False)}",
        )
    if job.gender == "f":
        job = lexicon.noun("engineer")
    return Pair(
        f"{one[0]} whose {owned.en} {verb[0]} {english.with_article(job.en)}",
        f"{one[1]} dont le {owned.fr} {verb[1]} {job.fr}",
    )


@construction
def relative_where(draw: Draw) -> Pair:
    """The village where I was born is very quiet."""
    entry = draw.pick(tuple(n for n in lexicon.nouns("area", "venue") if n.en not in ("farm",)))
    phrase = noun_phrase(entry, "the")
    who = subject(draw)
    action = lexicon.LIVE if entry.kind == "area" else lexicon.INTRANSITIVE[1]
    tense = draw.pick(("present", "used_to"))
    en, fr = clause(who, action, tense)
    adjective = adjective_of(draw, entry, False)
    if adjective is None:
        return Pair(f"this is {phrase.en} where {en}", f"c'est {phrase.fr} où {fr}")
    return Pair(
        f"{phrase.en} where {en} is very {adjective.en}"
        if adjective.en not in PLAIN_ADJECTIVES
        else f"{phrase.en} where {en} is {adjective.en}",
        f"{phrase.fr} où {fr} est très {be_adjective(phrase, adjective)}"
        if adjective.en not in PLAIN_ADJECTIVES
        else f"{phrase.fr} où {fr} est {be_adjective(phrase, adjective)}",
    )


@construction
def relative_with_whom(draw: Draw) -> Pair:
    """The cousin with whom I travel is very funny."""
    other = noun_phrase(draw.pick(lexicon.nouns("job", "person")), "the", draw.chance(0.3))
    who = subject(draw)
    action = draw.pick(
        tuple(
            a for a in lexicon.INTRANSITIVE if a.en.base in ("travel", "work", "dance", "sing", "study", "swim", "run")
        )
    )
    tense = draw.pick(("present", "past", "progressive"))
    en, fr = clause(who, action, tense)
    assert other.noun is not None
    adjective = adjective_of(draw, other.noun, False, lambda a: a.en not in PLAIN_ADJECTIVES)
    if adjective is None:
        return relative_with_whom(draw)
    return Pair(
        f"{other.en} with whom {en} {'are' if other.many else 'is'} very {adjective.en}",
        f"{other.fr} avec qui {fr} {'sont' if other.many else 'est'} très {be_adjective(other, adjective)}",
    )


# Description and comparison


@construction
def predicate_thing(draw: Draw) -> Pair:
    """These old chairs are very comfortable."""
    entry = draw.pick(
        lexicon.nouns(
            *(
                "clothes",
                "footwear",
                "furniture",
                "vehicle",
                "ride",
                "device",
                "dishes",
                "fruit",
                "dish",
                "idea",
                "text",
                "writing",
            ),
            *(
                "show",
                "gathering",
                "building",
                "venue",
                "landscape",
                "room",
                "area",
                "container",
                "tool",
                "animal",
                "jewel",
                "tune",
            ),
        )
    )
    single = entry.kind in ("room", "venue", "area", "landscape")
    many = not single and draw.chance(0.5)
    adjective = adjective_of(draw, entry, False)
    if adjective is None:
        return predicate_thing(draw)
    phrase = noun_phrase(entry, draw.pick(("the", "these" if many else "this")), many)
    degree = draw.pick((("very ", "très "), ("too ", "trop "), ("", "")))
    absolute = adjective.en in (*PLAIN_ADJECTIVES, "delicious", "useless")
    if absolute or (degree[0] == "too " and adjective.en in GOOD_QUALITIES):
        degree = ("", "")
    past = draw.chance(0.3)
    verb = (
        english.to_be(phrase.person, past),
        french.simple_form("être", "imperfect" if past else "present", phrase.person),
    )
    return Pair(
        f"{phrase.en} {verb[0]} {degree[0]}{adjective.en}",
        f"{phrase.fr} {verb[1]} {degree[1]}{be_adjective(phrase, adjective)}",
    )


GOOD_QUALITIES = (
    *(
        "good",
        "beautiful",
        "pretty",
        "delicious",
        "interesting",
        "useful",
        "famous",
        "comfortable",
        "elegant",
        "happy",
        "honest",
    ),
    *("bad", "useless", "fresh", "strange", "important", "clean", "modern", "intelligent", "new"),
)


@construction
def predicate_person(draw: Draw) -> Pair:
    """My sister is happy today."""
    who = draw.pick(PRONOUNS) if draw.chance(0.4) else named(draw) if draw.chance(0.3) else person(draw, 0)
    entry = who.noun or lexicon.noun("woman" if who.gender == "f" else "man")
    adjective = adjective_of(draw, entry, False, lambda a: a.en not in ("big", "new", "important"))
    if adjective is None:
        return predicate_person(draw)
    tense = draw.pick(("present", "past", "present"))
    degree = draw.pick((("very", "très"), ("", ""), ("not", "pas")))
    if degree[0] == "very" and adjective.en in PLAIN_ADJECTIVES:
        degree = ("", "")
    verb = english.to_be(who.person, tense == "past")
    fr = french_verb(who, lexicon.BE, tense, degree[1] if degree[0] == "not" else "")
    more = degree[1] if degree[0] == "very" else ""
    return Pair(f"{who.en} {verb} {degree[0]} {adjective.en}", f"{who.fr} {fr} {more} {be_adjective(who, adjective)}")


@construction
def profession(draw: Draw) -> Pair:
    """His aunt is an actress."""
    masculine = draw.chance(0.8)
    job = draw.pick(tuple(n for n in lexicon.NOUNS["job"] if (n.gender == "m") == masculine))
    who = draw.pick((I, HE, named(draw), YOU, relative(draw), relative(draw, HE), relative(draw, SHE)))
    while (who.gender == "m") != masculine:
        who = draw.pick((HE, SHE, named(draw), relative(draw), relative(draw, HE), relative(draw, SHE)))
    verbs = draw.pick(
        (
            (english.to_be(who.person), french_verb(who, lexicon.BE, "present")),
            (english.to_be(who.person, True), french_verb(who, lexicon.BE, "past")),
            ("will be", french_verb(who, lexicon.BE, "future")),
            ("would like to be", french_verb(who, lexicon.LIKE, "conditional") + " être"),
        )
    )
    return Pair(f"{who.en} {verbs[0]} {english.with_article(job.en)}", f"{who.fr} {verbs[1]} {job.fr}")


@construction
def identification(draw: Draw) -> Pair:
    """It is a beautiful house."""
    entry = draw.pick(
        lexicon.nouns(
            *(
                "clothes",
                "furniture",
                "vehicle",
                "device",
                "idea",
                "text",
                "writing",
                "show",
                "gathering",
                "building",
                "venue",
            ),
            *(
                "landscape",
                "area",
                "animal",
                "wild",
                "jewel",
                "tune",
                "plant",
                "job",
                "person",
                "tool",
                "dish",
                "fruit",
            ),
        )
    )
    many = draw.chance(0.3)
    adjective = adjective_of(draw, entry)
    phrase = noun_phrase(entry, "some" if many else "a", many, adjective)
    if many:
        return Pair(f"they are {phrase.en.removeprefix('some ')}", f"ce sont {phrase.fr}")
    lead = draw.pick((("it is", "c'est"), ("it was", "c'était"), ("it is not", "ce ne est pas")))
    if entry.kind in ("job", "person"):
        lead = ("he is", "c'est") if entry.gender == "m" else ("she is", "c'est")
    return Pair(f"{lead[0]} {phrase.en}", f"{lead[1]} {phrase.fr}")


@construction
def exclamation(draw: Draw) -> Pair:
    """What a beautiful garden!"""
    entry = draw.pick(
        lexicon.nouns(
            *(
                "clothes",
                "furniture",
                "vehicle",
                "idea",
                "text",
                "writing",
                "show",
                "gathering",
                "building",
                "venue",
                "plant",
            ),
            *("landscape", "area", "animal", "jewel", "tune", "job", "person", "room", "fruit", "dish", "wild"),
        )
    )
    many = draw.chance(0.35)
    adjective = adjective_of(
        draw, entry, accept=lambda a: a.en not in (*PLAIN_ADJECTIVES, "cold", "dry") or a.en == "beautiful"
    )
    if adjective is None:
        return exclamation(draw)
    phrase = noun_phrase(entry, "a", many, adjective)
    fr = noun_phrase(entry, "which", many, adjective).fr
    en = f"{adjective.en} {entry.english(True)}" if many else phrase.en
    return Pair(f"what {en}", fr, "!")


def comparison(draw: Draw) -> tuple[Phrase, Phrase, lexicon.Adjective]:
    """Gives two things and a quality to compare them by."""
    while True:
        kind = draw.pick(
            (
                "clothes",
                "furniture",
                "vehicle",
                "device",
                "building",
                "area",
                "landscape",
                "show",
                "text",
                "animal",
                "relative",
                "relative",
                "relative",
                "fruit",
            )
        )
        one, two = draw.pair(tuple(n for n in lexicon.NOUNS[kind] if n.en not in ("country", "street", "region")))
        shared = [
            adjective
            for adjective in lexicon.adjectives_for(one)
            if adjective in lexicon.adjectives_for(two)
            and adjective.en not in (*PLAIN_ADJECTIVES, "good", "bad", "new")
        ]
        shared += [a for a in lexicon.adjectives_for(one) if a.en == "beautiful" and a in lexicon.adjectives_for(two)]
        if not shared:
            continue
        if kind == "relative" and draw.chance(0.6):
            first = named(draw)
            names = tuple(name for name in lexicon.NAMES if name.text != first.en)
            other = draw.pick(names)
            return first, Phrase(other.text, other.text, other.gender), draw.pick(shared)
        if kind == "relative":
            owner = draw.pick((I, WE, YOU, HE, SHE))
            return noun_phrase(one, "own", owner=owner), noun_phrase(two, "own", owner=owner), draw.pick(shared)
        many = draw.chance(0.25) and kind not in ("area", "device")
        determiners = ("these", "the") if many else ("this", "the")
        return noun_phrase(one, determiners[0], many), noun_phrase(two, determiners[1], many), draw.pick(shared)


@construction
def comparative_more(draw: Draw) -> Pair:
    """My brother is taller than my cousin."""
    one, two, adjective = comparison(draw)
    verb = ("are", "sont") if one.many else ("is", "est")
    more = adjective.comparative or f"more {adjective.en}"
    return Pair(
        f"{one.en} {verb[0]} {more} than {two.en}",
        f"{one.fr} {verb[1]} plus {be_adjective(one, adjective)} que {two.fr}",
    )


@construction
def comparative_less(draw: Draw) -> Pair:
    """This film is less interesting than the book."""
    one, two, adjective = comparison(draw)
    if adjective.en in ("small", "big", "useless"):
        return comparative_less(draw)
    verb = ("are", "sont") if one.many else ("is", "est")
    return Pair(
        f"{one.en} {verb[0]} less {adjective.en} than {two.en}",
        f"{one.fr} {verb[1]} moins {be_adjective(one, adjective)} que {two.fr}",
    )


@construction
def comparative_equal(draw: Draw) -> Pair:
    """The cow is as old as the horse."""
    one, two, adjective = comparison(draw)
    negative = draw.chance(0.4)
    if one.many:
        verb = ("are not", "ne sont pas") if negative else ("are", "sont")
    else:
        verb = ("is not", "ne est pas") if negative else ("is", "est")
    return Pair(
        f"{one.en} {verb[0]} as {adjective.en} as {two.en}",
        f"{one.fr} {verb[1]} aussi {be_adjective(one, adjective)} que {two.fr}",
    )


@construction
def comparative_better(draw: Draw) -> Pair:
    """This soup is better than the salad."""
    kind = draw.pick(("food", "dish", "fruit", "drink", "show", "idea", "text"))
    one, two = draw.pair(tuple(n for n in lexicon.NOUNS[kind] if n.en not in INCOMPARABLE))
    many = kind in ("fruit", "dish") and draw.chance(0.5)
    first, second = noun_phrase(one, "these" if many else "this", many), noun_phrase(two, "the", many)
    word = draw.pick((("better", "meilleur"), ("worse", "pire")))
    if word[0] == "worse" and kind != "idea":
        word = ("worse", "mauvais")
    agreed = ("plus " if word[1] == "mauvais" else "") + french.agree(word[1], first.gender, many)
    verb = ("are", "sont") if many else ("is", "est")
    return Pair(
        f"{first.en} {verb[0]} {word[0]} than {second.en}",
        f"{first.fr} {verb[1]} {agreed} que {second.fr}",
    )


INCOMPARABLE = (
    *("problem", "mistake", "word", "sentence", "map", "menu", "dictionary", "rule", "exercise", "riddle"),
    *("honey", "jam", "butter", "chocolate", "ice cream", "bread", "cheese"),
)


@construction
def comparative_adverb(draw: Draw) -> Pair:
    """Julie sings better than her brother."""
    who = subject(draw)
    other = named(draw) if draw.chance(0.5) else person(draw)
    action = draw.pick(
        tuple(
            a
            for a in lexicon.INTRANSITIVE
            if a.en.base in ("sing", "dance", "swim", "run", "cook", "walk", "work", "read")
        )
    )
    adverb = draw.pick(
        (
            ("better than", "mieux que"),
            ("faster than", "plus vite que"),
            ("as well as", "aussi bien que"),
            ("as fast as", "aussi vite que"),
        )
    )
    # "He walks as well as Paul" would say that both walk.
    if action.en.base in ("sing", "dance", "cook"):
        adverb = draw.pick((("better than", "mieux que"), ("as well as", "aussi bien que")))
    elif adverb[0] == "as well as" and action.en.base != "swim":
        adverb = ("as fast as", "aussi vite que")
    elif adverb[0] == "better than" and action.en.base == "walk":
        adverb = ("faster than", "plus vite que")
    if who.en == other.en:
        return comparative_adverb(draw)
    en, fr = clause(who, action, draw.pick(("present", "present", "used_to")))
    return Pair(f"{en} {adverb[0]} {other.en}", f"{fr} {adverb[1]} {other.fr}")


@construction
def comparative_quantity(draw: Draw) -> Pair:
    """The baker sells more cakes than the butcher."""
    who = named(draw) if draw.chance(0.4) else person(draw)
    other = someone(draw, who)
    action = draw.pick(
        tuple(
            a
            for a in ACTIONS
            if a.en.base in ("eat", "buy", "sell", "read", "write", "receive", "repair", "plant", "drink")
        )
    )
    entry = draw.pick(lexicon.objects_of(action))
    if entry.kind in ("meal",):
        return comparative_quantity(draw)
    many = not entry.mass
    degree = draw.pick(
        (
            ("more", "plus", "than"),
            ("less" if entry.mass else "fewer", "moins", "than"),
            ("as much" if entry.mass else "as many", "autant", "as"),
        )
    )
    en, fr = clause(who, action, "present")
    return Pair(
        f"{en} {degree[0]} {entry.english(many)} {degree[2]} {other.en}",
        f"{fr} {degree[1]} de {entry.french(many)} que {other.fr}",
    )


@construction
def superlative(draw: Draw) -> Pair:
    """It is the most beautiful city in Italy."""
    place = draw.pick(lexicon.COUNTRIES)
    entry = draw.pick(lexicon.nouns("building", "area", "venue", "landscape", "room"))
    if entry.en in ("country", "path", "road", "farm", "port") or entry.kind == "room":
        entry = lexicon.noun("city")
    adjective = adjective_of(
        draw, entry, accept=lambda a: a.en not in (*PLAIN_ADJECTIVES, "good", "bad", "new") or a.en == "beautiful"
    )
    if adjective is None:
        return superlative(draw)
    degree = draw.pick((("most", "plus"), ("most", "plus"), ("least", "moins")))
    if adjective.before:
        degree = ("most", "plus")
    more = (
        adjective.comparative.removesuffix("er") + "est"
        if adjective.comparative and degree[1] == "plus"
        else f"{degree[0]} {adjective.en}"
    )
    article = "la" if entry.gender == "f" else "le"
    if adjective.before:
        fr = f"{article} plus {french.agree(adjective.fr, entry.gender, False)} {entry.fr}"
    else:
        fr = f"{article} {entry.fr} {article} {degree[1]} {french.agree(adjective.fr, entry.gender, False)}"
    if draw.chance(0.4):
        who = draw.pick(PRONOUNS)
        visit = next(a for a in lexicon.TRANSITIVE if a.en.base == "describe")
        one = clause(who, visit, draw.pick(("past", "future")))
        return Pair(f"{one[0]} the {more} {entry.en} in {place.en}", f"{one[1]} {fr} {place.origin}")
    lead = draw.pick((("it is", "c'est"), ("this is", "c'est")))
    return Pair(f"{lead[0]} the {more} {entry.en} in {place.en}", f"{lead[1]} {fr} {place.origin}")


@construction
def superlative_person(draw: Draw) -> Pair:
    """He is the youngest doctor in the village."""
    job = draw.pick(lexicon.NOUNS["job"])
    place = draw.pick(tuple(n for n in lexicon.NOUNS["area"] if n.en not in ("street", "country")))
    adjective = adjective_of(draw, job, accept=lambda a: a.en not in (*PLAIN_ADJECTIVES, "good", "bad", "new", "old"))
    if adjective is None:
        return superlative_person(draw)
    who = draw.pick((HE, named(draw), I)) if job.gender == "m" else SHE
    if who.gender != job.gender:
        who = HE
    article = "la" if job.gender == "f" else "le"
    more = adjective.comparative.removesuffix("er") + "est" if adjective.comparative else f"most {adjective.en}"
    word = french.agree(adjective.fr, job.gender, False)
    fr = f"{article} plus {word} {job.fr}" if adjective.before else f"{article} {job.fr} {article} plus {word}"
    lead = french_verb(who, lexicon.BE, "present")
    subject_fr = "c'est" if who in (HE, SHE) else f"{who.fr} {lead}"
    return Pair(
        f"{who.en} {english.to_be(who.person)} the {more} {job.en} in the {place.en}",
        f"{subject_fr} {fr} {french.contract('de', noun_phrase(place, 'the').fr)}",
    )


# Numbers, dates, quantities


@construction
def date_event(draw: Draw) -> Pair:
    """The exam will begin on 3 May."""
    phrase = noun_phrase(draw.pick(lexicon.nouns("gathering", "show")), "the")
    tense = draw.pick(("past", "future", "future"))
    day = date(draw, tense)
    action = draw.pick(
        (
            Action(english.Verb("begin"), french.Verb("commencer")),
            Action(english.Verb("finish"), french.Verb("terminer", reflexive=True)),
        )
    )
    return Pair(*(f"{one} {two}" for one, two in zip(clause(phrase, action, tense), day, strict=True)))


@construction
def date_deed(draw: Draw) -> Pair:
    """They arrived in Geneva on the first of June."""
    who = subject(draw)
    tense = draw.pick(("past", "future"))
    day = date(draw, tense)
    action = draw.pick((lexicon.ARRIVE, lexicon.COME_BACK, lexicon.LEAVE, lexicon.GO, lexicon.ARRIVE))
    rest = {
        "arrive": location(draw),
        "go": destination(draw),
    }.get(action.en.base, ("", ""))
    en, fr = clause(who, action, tense, rest)
    return Pair(f"{en} {day[0]}", f"{fr} {day[1]}")


@construction
def time_of_day(draw: Draw) -> Pair:
    """The train leaves at half past eight."""
    if draw.chance(0.5):
        entry = draw.pick(lexicon.nouns("transport", "gathering", "show"))
        phrase = noun_phrase(entry, "the")
        action = (
            draw.pick((lexicon.LEAVE, lexicon.ARRIVE))
            if entry.kind == "transport"
            else Action(english.Verb("begin"), french.Verb("commencer"))
        )
        pair = clause(phrase, action, draw.pick(("present", "future")))
    else:
        who = subject(draw)
        pair = clause(
            who,
            draw.pick((lexicon.LEAVE, lexicon.ARRIVE, lexicon.COME_BACK, lexicon.GO_OUT, lexicon.GO_HOME)),
            draw.pick(("past", "future", "present")),
        )
    time = clock(draw)
    return Pair(f"{pair[0]} {time[0]}", f"{pair[1]} {time[1]}")


@construction
def opening_hours(draw: Draw) -> Pair:
    """The museum opens at nine o'clock on Mondays."""
    phrase = noun_phrase(draw.pick(tuple(n for n in lexicon.nouns("venue") if n.en not in NEVER_CLOSED)), "the")
    verb = draw.pick(
        (Action(english.Verb("open"), french.Verb("ouvrir")), Action(english.Verb("close"), french.Verb("fermer")))
    )
    en, fr = clause(phrase, verb, "present")
    time, day = hour(draw, verb.en.base == "open"), draw.pick(lexicon.WEEKDAYS)
    return Pair(f"{en} {time[0]} on {english.plural(day[0])}", f"{fr} le {day[1]} {time[1]}")


NEVER_CLOSED = ("hospital", "airport", "beach", "station", "port", "farm")


def hour(draw: Draw, early: bool) -> Both:
    """Gives the hour of opening or of closing."""
    value = draw.number(7, 10) if early else draw.number(5, 9)
    en, fr = number_en(value), f"{number_fr(value)} heures"
    return draw.pick(
        (
            (f"at {en} o'clock", f"à {fr}"),
            (f"at half past {en}", f"à {fr} et demie"),
            (f"at a quarter past {en}", f"à {fr} et quart"),
            (f"at a quarter to {en}", f"à {fr} moins le quart"),
        )
    )


@construction
def age(draw: Draw) -> Pair:
    """My grandfather is eighty-two years old."""
    who = subject(draw)
    low, high = (20, 60) if who.noun is None else AGES.get(who.noun.en, AGES.get(who.noun.kind, (20, 60)))
    number = amount(draw, low, high)
    tense = draw.pick(("present", "present", "future"))
    verb = "will be" if tense == "future" else english.to_be(who.person)
    time = draw.pick(
        (("tomorrow", "demain"), ("next week", "la semaine prochaine"), ("next month", "le mois prochain"), ("", ""))
    )
    if tense != "future":
        time = ("", "")
    have = french_verb(who, lexicon.HAVE, tense)
    return Pair(f"{who.en} {verb} {number[0]} years old {time[0]}", f"{who.fr} {have} {number[1]} ans {time[1]}")


AGES: dict[str, tuple[int, int]] = {
    "job": (25, 65),
    "person": (25, 75),
    "relative": (20, 70),
    "child": (5, 12),
    "boy": (5, 16),
    "girl": (5, 16),
    "pupil": (6, 17),
    "student": (18, 27),
    "grandfather": (62, 99),
    "grandmother": (62, 99),
    "father": (40, 75),
    "mother": (40, 75),
    "son": (5, 30),
    "daughter": (5, 30),
    "nephew": (5, 30),
    "niece": (5, 30),
}


@construction
def price(draw: Draw) -> Pair:
    """This hat costs forty euros."""
    cheap = draw.chance(0.6)
    entry = draw.pick(lexicon.nouns(*(CHEAP if cheap else DEAR)))
    many = draw.chance(0.4) or entry.kind == "footwear"
    phrase = noun_phrase(entry, "these" if many else "this", many)
    if cheap:
        number = amount(draw, 5, 99)
    else:
        hundreds = draw.number(2, 9)
        number = draw.pick(
            (
                (f"{hundreds}00", f"{hundreds}00"),
                (f"{number_en(hundreds)} hundred", f"{number_fr(hundreds)} cents"),
            )
        )
    verb = ("cost", "coûtent") if many else ("costs", "coûte")
    return Pair(f"{phrase.en} {verb[0]} {number[0]} euros", f"{phrase.fr} {verb[1]} {number[1]} euros")


CHEAP = ("clothes", "footwear", "text", "thing", "tool", "container", "dishes")
DEAR = ("furniture", "device", "instrument", "jewel", "ride")


@construction
def distance(draw: Draw) -> Pair:
    """The beach is five kilometres from the station."""
    first, second = draw.pair(lexicon.nouns("venue"))
    one, two = noun_phrase(first, "the"), noun_phrase(second, "the")
    if draw.chance(0.3):
        value = 100 * draw.number(2, 9)
        number, unit = (str(value), str(value)), ("metres", "mètres")
    else:
        number = amount(draw, 2, 20)
        unit = draw.pick((("kilometres", "kilomètres"), ("minutes", "minutes")))
    return Pair(
        f"{one.en} is {number[0]} {unit[0]} from {two.en}", f"{one.fr} est à {number[1]} {unit[1]} {two.with_de()}"
    )


def portion_of(draw: Draw, wish: bool = False) -> Both:
    """Gives a measure of something to eat or drink: "a glass of water"; a wish is for what is served."""
    if wish or draw.chance(0.5):
        entry = draw.pick(lexicon.NOUNS["drink"])
        measure = ("a cup of", "une tasse de") if entry.en in ("coffee", "tea") else ("a glass of", "un verre de")
        if entry.en not in ("coffee", "tea") and draw.chance(0.4):
            measure = ("a bottle of", "une bouteille de")
        if wish and draw.chance(0.4):
            entry = draw.pick(tuple(n for n in lexicon.nouns("food", "ingredient") if n.en not in ("flour", "oil")))
            measure = draw.pick((("a little", "un peu de"), ("a little more", "un peu plus de")))
    elif draw.chance(0.5):
        entry = draw.pick(lexicon.nouns("fruit", "vegetable"))
        measure = draw.pick((("a kilo of", "un kilo de"), ("a basket of", "un panier de"), ("a bag of", "un sac de")))
    else:
        entry = draw.pick(lexicon.nouns("food", "ingredient", "fruit", "vegetable", "dish"))
        measure = ("a lot of", "beaucoup de")
    many = not entry.mass
    return f"{measure[0]} {entry.english(many)}", french.elide(f"{measure[1]} {entry.french(many)}")


@construction
def quantity(draw: Draw) -> Pair:
    """She bought a kilo of cherries at the market."""
    who = subject(draw)
    portion = portion_of(draw)
    wanted = draw.pick(
        ("buy", "order", "buy", "buy")
        if "a glass of" not in portion[0] and "a cup of" not in portion[0]
        else ("order", "order")
    )
    action = next(a for a in lexicon.TRANSITIVE if a.en.base == wanted)
    tense = draw.pick(("past", "past", "future", "going_to"))
    en, fr = clause(who, action, tense, portion)
    place = (
        draw.pick((("at the market", "au marché"), ("at the supermarket", "au supermarché")))
        if wanted == "buy" and draw.chance(0.5)
        else ("", "")
    )
    return Pair(f"{en} {place[0]}", f"{fr} {place[1]}")


@construction
def too_many(draw: Draw) -> Pair:
    """There are too many cars in this city."""
    entry = draw.pick(
        lexicon.nouns("animal", "thing", "furniture", "vehicle", "clothes", "text", "dishes", "person", "container")
    )
    degree = draw.pick(
        (("too many", "trop de"), ("a lot of", "beaucoup de"), ("enough", "assez de"), ("not enough", "pas assez de"))
    )
    place = indoors(draw) if entry.kind not in ("vehicle", "person") else ("in this city", "dans cette ville")
    if entry.kind in ("animal",):
        place = draw.pick((("on this farm", "dans cette ferme"), ("in this village", "dans ce village")))
    noun_fr = entry.french(True)
    if degree[0] == "not enough":
        return Pair(
            f"there are not enough {entry.english(True)} {place[0]}", f"il ne y a pas assez de {noun_fr} {place[1]}"
        )
    return Pair(f"there are {degree[0]} {entry.english(True)} {place[0]}", f"il y a {degree[1]} {noun_fr} {place[1]}")


@construction
def all_of(draw: Draw) -> Pair:
    """All the pupils have read this novel."""
    entry = draw.pick(lexicon.nouns("job", "person"))
    many = draw.chance(0.6)
    who = noun_phrase(entry, "all the" if many else "every", many)
    tense = draw.pick(("perfect", "past", "future"))
    shared = tuple(a for a in lexicon.TRANSITIVE if a.en.base in SHARED)
    action = draw.pick(shared)
    rest = object_of(draw, action, who, plain=True, definite=True)
    return Pair(*clause(who, action, tense, rest))


# What everybody may do to one and the same thing.
SHARED = (
    *(
        "read",
        "visit",
        "watch",
        "sign",
        "taste",
        "learn",
        "study",
        "admire",
        "understand",
        "hear",
        "accept",
        "refuse",
        "cross",
    ),
    *("photograph", "choose", "copy", "check", "describe", "explain"),
)


@construction
def ordinal(draw: Draw) -> Pair:
    """It is the third time that she has visited this museum."""
    word = draw.pick(lexicon.ORDINALS)
    feminine = "première" if word[1] == "premier" else word[1]
    who = subject(draw)
    action, rest = act(draw, who, plain=True)
    while action.en.base in ("learn", "study", "teach"):
        action, rest = act(draw, who, plain=True)
    # After "c'est la troisième fois que", French has the present.
    en, fr = clause(who, action, "perfect", rest)[0], clause(who, action, "present", rest)[1]
    return Pair(f"it is the {word[0]} time that {en}", f"c'est la {feminine} fois que {fr}")


@construction
def floor(draw: Draw) -> Pair:
    """The dentist lives on the second floor."""
    word = draw.pick(lexicon.ORDINALS)
    who = subject(draw)
    action = draw.pick((lexicon.LIVE, lexicon.INTRANSITIVE[1]))
    tense = draw.pick(("present", "used_to", "future"))
    en, fr = clause(who, action, tense)
    return Pair(f"{en} on the {word[0]} floor", f"{fr} au {word[1]} étage")


# Being, having, places, weather


@construction
def there_is(draw: Draw) -> Pair:
    """There is a big mirror in the corridor."""
    entry = draw.pick(
        lexicon.nouns("furniture", "dishes", "container", "thing", "plant", "animal", "tool", "fruit", "text")
    )
    many = draw.chance(0.5)
    adjective = adjective_of(draw, entry) if draw.chance(0.4) else None
    determiner = draw.pick(("some", "two", "three", "several", "four")) if many else "a"
    phrase = noun_phrase(entry, determiner, many, adjective)
    verb = draw.pick((("is", "are", "a"), ("is", "are", "a"), ("was", "were", "avait"), ("will be", "will be", "aura")))
    place = indoors(draw)
    if entry.kind in ("plant", "animal"):
        place = draw.pick(
            (
                ("in the garden", "dans le jardin"),
                ("in front of the house", "devant la maison"),
                ("behind the house", "derrière la maison"),
                ("in the courtyard", "dans la cour"),
            )
        )
    elif draw.chance(0.35) and entry.kind in ("dishes", "fruit", "text", "thing"):
        place = draw.pick(
            (
                ("on the table", "sur la table"),
                ("under the chair", "sous la chaise"),
                ("on the shelf", "sur l'étagère"),
                ("in the drawer", "dans le tiroir"),
            )
        )
    return Pair(f"there {verb[many]} {phrase.en} {place[0]}", f"il y {verb[2]} {phrase.fr} {place[1]}")


@construction
def places_count(draw: Draw) -> Pair:
    """There are two churches in our village."""
    entry = draw.pick(
        tuple(
            n
            for n in lexicon.nouns("venue", "building", "room")
            if n.en
            not in (
                "flat",
                "palace",
                "port",
                "garage",
                "living room",
                "attic",
                "kitchen",
                "garden",
                "courtyard",
                "dining room",
            )
        )
    )
    adjective = adjective_of(draw, entry) if draw.chance(0.35) else None
    determiner = draw.pick(("two", "three", "several", "four", "some"))
    phrase = noun_phrase(entry, determiner, True, adjective)
    verb = draw.pick((("are", "a"), ("were", "avait"), ("will be", "aura")))
    if entry.kind == "room":
        place = draw.pick(
            (
                noun_phrase(lexicon.noun("house"), "own", owner=draw.pick(PRONOUNS)),
                noun_phrase(lexicon.noun("castle"), "this"),
            )
        )
    else:
        place = noun_phrase(
            draw.pick(lexicon.entries(("area_cleaned",))), draw.pick(("this", "own")), owner=draw.pick(PRONOUNS)
        )
    if entry.en in (
        "university",
        "airport",
        "hospital",
        "theatre",
        "port",
        "stadium",
        "tower",
        "factory",
        "beach",
        "museum",
    ):
        place = noun_phrase(
            draw.pick((lexicon.noun("city"), lexicon.noun("region"))),
            draw.pick(("this", "own")),
            owner=draw.pick(PRONOUNS),
        )
    return Pair(f"there {verb[0]} {phrase.en} in {place.en}", f"il y {verb[1]} {phrase.fr} dans {place.fr}")


@construction
def there_is_not(draw: Draw) -> Pair:
    """There is not any sugar in the kitchen."""
    entry = draw.pick(
        lexicon.nouns("food", "drink", "ingredient", "fruit", "dishes", "furniture", "tool", "dish", "vegetable")
    )
    many = not entry.mass
    phrase = noun_phrase(entry, "no", many)
    verb = draw.pick((("is", "are", "a"), ("was", "were", "avait")))
    more = draw.pick((("", "pas"), (" more", "plus")))
    en = f"any{more[0]} {entry.english(many)}"
    if entry.kind in ("furniture", "tool"):
        place = indoors(draw)
    else:
        keeps = entry.kind in ("dishes", "ingredient") and entry.en != "cream"
        place = draw.pick((*LARDER, ("in the cupboard", "dans le placard") if keeps else FRIDGE))
    return Pair(f"there {verb[many]} not {en} {place[0]}", f"il ne y {verb[2]} {more[1]} {phrase.fr} {place[1]}")


LARDER: tuple[Both, ...] = (
    ("in the kitchen", "dans la cuisine"),
    ("on the table", "sur la table"),
    ("in the dining room", "dans la salle à manger"),
    ("in the basket", "dans le panier"),
    ("in the cellar", "dans la cave"),
)
FRIDGE: Both = ("in the fridge", "dans le réfrigérateur")


@construction
def weather(draw: Draw) -> Pair:
    """It will be cold in Canada tomorrow."""
    kinds = (
        ("is cold", "was cold", "will be cold", "faire", "froid"),
        ("is hot", "was hot", "will be hot", "faire", "chaud"),
        ("is sunny", "was sunny", "will be sunny", "avoir", "du soleil"),
        ("is windy", "was windy", "will be windy", "avoir", "du vent"),
        ("is foggy", "was foggy", "will be foggy", "avoir", "du brouillard"),
        ("is raining", "was raining", "will rain", "pleuvoir", ""),
        ("is snowing", "was snowing", "will snow", "neiger", ""),
    )
    kind = draw.pick(kinds)
    tense = draw.number(0, 2)
    verb = WEATHER_VERBS[kind[3]][tense]
    land = draw.pick(
        tuple(p for p in (*lexicon.COUNTRIES, *lexicon.CITIES) if p.en not in HOT_LANDS or kind[3] != "neiger")
    )
    place = f"in {land.en}", land.inside
    time = (("today", "aujourd'hui"), ("", ""), ("", ""))[tense]
    if tense == 2:
        time = draw.pick(SHORTLY)
    elif tense == 1:
        time = draw.pick(
            (("yesterday", "hier"), ("yesterday morning", "hier matin"), ("last night", "hier soir"), ("", ""))
        )
    if "night" in time[0] and "sunny" in kind[0]:
        time = ("", "")
    return Pair(f"it {kind[tense]} {place[0]} {time[0]}", f"il {verb} {kind[4]} {place[1]} {time[1]}")


WEATHER_VERBS = {
    "faire": ("fait", "faisait", "fera"),
    "avoir": ("y a", "y avait", "y aura"),
    "pleuvoir": ("pleut", "pleuvait", "pleuvra"),
    "neiger": ("neige", "neigeait", "neigera"),
}


@construction
def weather_season(draw: Draw) -> Pair:
    """It often rains in Belgium in autumn."""
    months, season, skies = draw.pick(CLIMATE)
    place = draw.pick(tuple(p for p in (*lexicon.COUNTRIES, *lexicon.CITIES) if p.en not in HOT_LANDS))
    name = draw.pick(months)
    month = next(m for m in lexicon.MONTHS if m[0] == name)
    time = season if draw.chance(0.5) else (f"in {month[0]}", f"en {month[1]}")
    en, fr = draw.pick(skies)
    return Pair(f"{en} in {place.en} {time[0]}", f"{fr} {place.inside} {time[1]}")


# Where it does not snow, or where the seasons are others.
HOT_LANDS = ("Egypt", "Morocco", "India", "Brazil", "Mexico")

_WET: tuple[Both, ...] = (
    ("it often rains", "il pleut souvent"),
    ("it sometimes rains", "il pleut parfois"),
    ("it is often windy", "il y a souvent du vent"),
    ("it is often foggy", "il y a souvent du brouillard"),
)
CLIMATE: tuple[tuple[tuple[str, ...], Both, tuple[Both, ...]], ...] = (
    (("March", "April", "May"), ("in spring", "au printemps"), (*_WET, ("it rarely snows", "il neige rarement"))),
    (
        ("June", "July", "August"),
        ("in summer", "en été"),
        (
            ("it is often hot", "il fait souvent chaud"),
            ("it is sometimes very hot", "il fait parfois très chaud"),
            ("it never snows", "il ne neige jamais"),
            ("it sometimes rains", "il pleut parfois"),
            ("it is often sunny", "il y a souvent du soleil"),
        ),
    ),
    (("September", "October", "November"), ("in autumn", "en automne"), _WET),
    (
        ("December", "January", "February"),
        ("in winter", "en hiver"),
        (
            *_WET,
            ("it is often cold", "il fait souvent froid"),
            ("it is sometimes very cold", "il fait parfois très froid"),
            ("it sometimes snows", "il neige parfois"),
        ),
    ),
)


@construction
def weather_and(draw: Draw) -> Pair:
    """We are staying at home because it is raining."""
    who = subject(draw)
    reason = draw.pick(
        (
            ("it is raining", "il pleut"),
            ("it is snowing", "il neige"),
            ("it is cold", "il fait froid"),
            ("it is windy", "il y a du vent"),
        )
    )
    if draw.chance(0.5):
        en, fr = clause(
            who,
            lexicon.STAY,
            "progressive",
            draw.pick((("at home", "à la maison"), ("in bed", "au lit"), indoors(draw))),
        )
    else:
        action, rest = wearing(draw, who)
        en, fr = clause(who, action, "progressive", rest)
    return Pair(f"{en} because {reason[0]}", f"{fr} parce que {reason[1]}")


@construction
def having(draw: Draw) -> Pair:
    """My cousins have an old boat."""
    who = subject(draw)
    entry = draw.pick(
        lexicon.nouns(
            "ride",
            "vehicle",
            "animal",
            "thing",
            "jewel",
            "building",
            "furniture",
            "instrument",
            "device",
            "clothes",
            "footwear",
            "relative",
            "tool",
        )
    )
    if entry.en in ("tower", "bridge", "palace", "father", "mother", "bus", "boss"):
        entry = lexicon.noun("house")
    many = draw.chance(0.35) or entry.kind == "footwear" or (who.many and entry.kind == "clothes")
    adjective = adjective_of(draw, entry) if draw.chance(0.5) else None
    negative = draw.chance(0.35)
    tense = draw.pick(("present", "past", "future", "present"))
    if not suits(who, entry):
        return having(draw)
    if negative:
        phrase = noun_phrase(entry, "no", many)
    else:
        phrase = noun_phrase(entry, draw.pick(("two", "three", "several")) if many else "a", many, adjective)
        phrase = one_each(phrase, who, adjective) if not many and personal(entry) else phrase
    return Pair(*clause(who, lexicon.HAVE, tense, (phrase.en, phrase.fr), negation="not" if negative else ""))


FEELINGS = (
    ("hungry", "faim"),
    ("thirsty", "soif"),
    ("sleepy", "sommeil"),
    ("cold", "froid"),
    ("hot", "chaud"),
    ("afraid", "peur"),
    ("right", "raison"),
    ("wrong", "tort"),
)


@construction
def feeling(draw: Draw) -> Pair:
    """The boys were very thirsty."""
    who = subject(draw, 0.35)
    en, fr = draw.pick(FEELINGS)
    tense = draw.pick(("present", "past", "future"))
    negative = draw.chance(0.3)
    very = not negative and en not in ("right", "wrong") and draw.chance(0.4)
    verb = (
        ("will not be" if negative else "will be")
        if tense == "future"
        else english.to_be(who.person, tense == "past") + (" not" if negative else "")
    )
    have = french_verb(who, lexicon.HAVE, tense, "pas" if negative else "")
    time = {
        "present": ("", ""),
        "past": draw.pick((("yesterday", "hier"), ("this morning", "ce matin"), ("", ""))),
        "future": ("", ""),
    }[tense]
    return Pair(
        f"{who.en} {verb} {'very ' if very else ''}{en} {time[0]}",
        f"{who.fr} {have} {'très ' if very else ''}{fr} {time[1]}",
    )


@construction
def fear(draw: Draw) -> Pair:
    """My niece is afraid of spiders."""
    who = subject(draw)
    entry = draw.pick(lexicon.nouns("wild", "animal"))
    phrase = generic(entry)
    negative = draw.chance(0.3)
    tense = draw.pick(("present", "past"))
    verb = english.to_be(who.person, tense == "past") + (" not" if negative else "")
    have = french_verb(who, lexicon.HAVE, tense, "pas" if negative else "")
    return Pair(f"{who.en} {verb} afraid of {phrase.en}", f"{who.fr} {have} peur {phrase.with_de()}")


@construction
def need(draw: Draw) -> Pair:
    """The gardener needs a new shovel."""
    who = subject(draw)
    entry = draw.pick(
        lexicon.nouns(
            "tool", "container", "thing", "furniture", "ingredient", "food", "device", "clothes", "dishes", "text"
        )
    )
    if entry.mass:
        phrase = noun_phrase(entry, "some")
    else:
        many = draw.chance(0.3)
        adjective = (
            adjective_of(draw, entry, accept=lambda a: a.en in ("new", "big", "small", "light", "warm", "clean"))
            if draw.chance(0.4)
            else None
        )
        phrase = noun_phrase(entry, draw.pick(("two", "three")) if many else "a", many, adjective)
        phrase = one_each(phrase, who, adjective) if not many and personal(entry) else phrase
    if not suits(who, entry):
        return need(draw)
    tense = draw.pick(("present", "past", "future"))
    have = french_verb(who, lexicon.HAVE, tense)
    en = verb_en(who, Action(english.Verb("need"), lexicon.HAVE.fr), tense)
    return Pair(f"{who.en} {en} {phrase.en}", f"{who.fr} {have} besoin {phrase.with_de()}")


@construction
def body_pain(draw: Draw) -> Pair:
    """My shoulder hurts."""
    entry = draw.pick(lexicon.NOUNS["body"])
    who = draw.pick(PRONOUNS) if draw.chance(0.5) else named(draw) if draw.chance(0.5) else relative(draw)
    many = entry.en in PAINFUL_PAIRS and (who.many or draw.chance(0.5))
    part = noun_phrase(entry, "the", many)
    # Several people have several heads in English, but French keeps one each.
    body = entry.english(many or who.many)
    own = f"{possessive_en(who)} {body}" if who in PRONOUNS else f"{who.en}'s {body}"
    past = draw.chance(0.3)
    verb = "hurt" if past or many or who.many else "hurts"
    have = french_verb(who, lexicon.HAVE, "past" if past else "present")
    if not past and draw.chance(0.25):
        return Pair(f"{own} {verb} a lot", f"{who.fr} {have} très mal {part.after('à')}")
    present = (("", ""), ("today", "aujourd'hui"), ("now", "maintenant"))
    time = draw.pick((("yesterday", "hier"), ("last night", "hier soir")) if past else present)
    return Pair(f"{own} {verb} {time[0]}", f"{who.fr} {have} mal {part.after('à')} {time[1]}")


PAINFUL_PAIRS = ("foot", "leg", "knee", "tooth", "ear", "arm", "hand", "finger", "shoulder")


@construction
def body_wash(draw: Draw) -> Pair:
    """She washed her hands before dinner."""
    who = subject(draw)
    face = "faces" if who.many else "face"
    part = draw.pick((("hands", "les mains"), ("feet", "les pieds"), ("hair", "les cheveux"), (face, "le visage")))
    tense = draw.pick(("past", "progressive", "future", "present"))
    wash = next(a for a in lexicon.TRANSITIVE if a.en.base == "wash")
    # The part of the body is the direct object, so the participle does not agree with the subject.
    fr = french.predicate(french.Verb("laver", reflexive=True), who.person, TENSES[tense])
    time = draw.pick(
        (
            ("before dinner", "avant le dîner"),
            ("before lunch", "avant le déjeuner"),
            ("", ""),
            time_for(draw, tense, wash),
        )
    )
    if tense == "progressive":
        time = ("", "") if draw.chance(0.5) else ("in the bathroom", "dans la salle de bains")
    return Pair(
        f"{who.en} {verb_en(who, wash, tense)} {possessive_en(who)} {part[0]} {time[0]}",
        f"{who.fr} {fr} {part[1]} {time[1]}",
    )


@construction
def possession_of(draw: Draw) -> Pair:
    """Paul's car is blue."""
    owner = named(draw) if draw.chance(0.5) else person(draw, 0)
    entry = draw.pick(
        lexicon.nouns(
            "clothes",
            "footwear",
            "vehicle",
            "ride",
            "building",
            "animal",
            "furniture",
            "device",
            "jewel",
            "idea",
            "instrument",
            "room",
            "container",
            "container",
        )
    )
    if entry.en in ("tower", "bridge", "palace", "bus", "garden"):
        entry = lexicon.noun("house")
    if entry.en in NOT_OWNED or not suits(owner, entry):
        return possession_of(draw)
    many = (draw.chance(0.3) and entry.kind not in ("room",)) or shared_out(owner, entry)
    phrase = noun_phrase(entry, "the", many)
    adjective = adjective_of(draw, entry, False)
    if adjective is None:
        return possession_of(draw)
    genitive = owner.en + ("'" if owner.many and owner.en.endswith("s") else "'s")
    past = draw.chance(0.3)
    verb = (
        english.to_be(phrase.person, past),
        french.simple_form("être", "imperfect" if past else "present", phrase.person),
    )
    return Pair(
        f"{genitive} {entry.english(many)} {verb[0]} {adjective.en}",
        f"{phrase.fr} {owner.with_de()} {verb[1]} {be_adjective(phrase, adjective)}",
    )


def shared_out(owner: Phrase, entry: Noun) -> bool:
    """Gives whether each of several owners has one: "the painters' hats"."""
    return owner.many and entry.kind in lexicon.WORN


@construction
def possession_object(draw: Draw) -> Pair:
    """I have lost my aunt's umbrella."""
    who = subject(draw)
    owner = named(draw) if draw.chance(0.5) else person(draw, 0)
    action = draw.pick(
        tuple(a for a in ACTIONS if a.en.base in MOVABLE and a.en.base not in ("write", "order", "catch", "draw"))
    )
    entry = draw.pick(
        tuple(
            n
            for n in countable(action)
            if n.kind in (*lexicon.SMALL, "vehicle", "ride", "device", "instrument", "furniture")
        )
    )
    if owner.en == who.en or several_worn(action, who) or not suits(owner, entry):
        return possession_object(draw)
    genitive = owner.en + ("'" if owner.many and owner.en.endswith("s") else "'s")
    many = draw.chance(0.3) or shared_out(owner, entry)
    phrase = noun_phrase(entry, "the", many)
    en, fr = clause(who, action, draw.pick(("past", "perfect", "future" if action.willed else "past")))
    return Pair(f"{en} {genitive} {entry.english(many)}", f"{fr} {phrase.fr} {owner.with_de()}")


@construction
def belonging(draw: Draw) -> Pair:
    """These shoes belong to my brother."""
    entry = draw.pick(
        lexicon.nouns(
            "clothes", "footwear", "thing", "jewel", "ride", "text", "container", "animal", "device", "tool", "building"
        )
    )
    many = draw.chance(0.4)
    phrase = noun_phrase(entry, "these" if many else "this", many)
    if entry.en in lexicon.FEMININE_WEAR or draw.chance(0.4):
        who = draw.pick(PRONOUNS) if entry.en not in lexicon.FEMININE_WEAR else SHE
        fr = french_verb(phrase, lexicon.BELONG, "present", clitics=(indirect(who),))
        return Pair(f"{phrase.en} {verb_en(phrase, lexicon.BELONG, 'present')} {object_en(who)}", f"{phrase.fr} {fr}")
    who = someone(draw, phrase)
    tense = draw.pick(("present", "past"))
    fr = french_verb(phrase, lexicon.BELONG, tense)
    return Pair(f"{phrase.en} {verb_en(phrase, lexicon.BELONG, tense)} {who.en}", f"{phrase.fr} {fr} {who.after('à')}")


MINE = ("mine", "his", "ours", "yours", "theirs")


@construction
def possession_mine(draw: Draw) -> Pair:
    """This blue coat is not mine."""
    who = draw.pick((I, HE, SHE, WE, YOU, THEY))
    entry = draw.pick(lexicon.nouns("clothes", "footwear", "thing", "jewel", "ride", "vehicle", "container", "device"))
    if not suits(who, entry):
        return possession_mine(draw)
    many = draw.chance(0.4) or (who.many and personal(entry))
    adjective = adjective_of(draw, entry) if draw.chance(0.6) else None
    phrase = noun_phrase(entry, "these" if many else "this", many, adjective)
    en = "hers" if who is SHE else MINE[who.person]
    negative = draw.chance(0.4)
    verb_be = french_verb(phrase, lexicon.BE, "present", "pas" if negative else "")
    return Pair(
        f"{phrase.en} {'are' if many else 'is'}{' not' if negative else ''} {en}",
        f"{phrase.fr} {verb_be} à {stressed(who)}",
    )


@construction
def country_life(draw: Draw) -> Pair:
    """My cousin lives in the Netherlands with my aunt."""
    who = subject(draw)
    action, rest = draw.pick(((lexicon.LIVE, location(draw)), (lexicon.INTRANSITIVE[1], location(draw))))
    tense = draw.pick(("present", "used_to", "future", "conditional"))
    if tense == "conditional":
        return Pair(
            f"{who.en} would like to {base(action, rest[0])}",
            f"{who.fr} {french_verb(who, lexicon.LIKE, 'conditional')} {infinitive(action, who, rest[1])}",
        )
    place = (
        draw.pick((("now", "maintenant"), ("", ""), ("with", "avec"), ("alone", "seul")))
        if tense == "present"
        else ("", "")
    )
    if place[0] == "alone":
        alone = french.agree("seul", who.gender, who.many)
        return Pair(*clause(who, action, tense, (f"alone {rest[0]}", f"{alone} {rest[1]}")))
    if place[0] == "with":
        other = relative(draw, who if who in PRONOUNS else I)
        place = (f"with {other.en}", f"avec {other.fr}")
    en, fr = clause(who, action, tense, rest)
    return Pair(f"{en} {place[0]}", f"{fr} {place[1]}")


@construction
def origin(draw: Draw) -> Pair:
    """The tourists come from Japan."""
    who = subject(draw)
    place = draw.pick((*lexicon.COUNTRIES, *lexicon.CITIES))
    tense = draw.pick(("present", "past", "future"))
    action = lexicon.COME if tense == "present" else lexicon.COME_BACK
    en, fr = clause(who, action, tense, (f"from {place.en}", place.origin))
    time = time_for(draw, tense) if tense != "present" else ("", "")
    return Pair(f"{en} {time[0]}", f"{fr} {time[1]}")


@construction
def capital(draw: Draw) -> Pair:
    """We visited Lisbon, the capital of Portugal."""
    city, country = draw.pick(lexicon.CAPITALS)
    town = next(place for place in lexicon.CITIES if place.en == city)
    land = next(place for place in lexicon.COUNTRIES if place.en == country)
    who = subject(draw)
    wanted = draw.pick(("visit", "visit", "photograph", "describe"))
    action = next(a for a in lexicon.TRANSITIVE if a.en.base == wanted)
    tense = draw.pick(("past", "future", "going_to"))
    en, fr = clause(who, action, tense)
    time = time_for(draw, tense) if draw.chance(0.5) else ("", "")
    time = (", " + time[0], ", " + time[1]) if time[0] else ("", "")
    return Pair(
        f"{en} {city}, the capital of {country}{time[0]}",
        f"{fr} {town.fr}, la capitale {french.contract('de', land.fr)}{time[1]}",
    )


@construction
def language(draw: Draw) -> Pair:
    """My nephew speaks German and Russian."""
    who = subject(draw)
    one, two = draw.pair(lexicon.NOUNS["language"])
    manner = draw.pick((("", ""), ("very well", "très bien"), ("a little", "un peu"), ("and", "et")))
    action = lexicon.SPEAK
    if manner[0] in ("and", ""):
        en, fr = clause(who, action, "present", (f"{one.en} and {two.en}", f"{one.fr} et {two.fr}"))
        place = location(draw) if draw.chance(0.3) else ("", "")
        return Pair(f"{en} {place[0]}", f"{fr} {place[1]}")
    en, fr = clause(who, action, "present")
    if manner[0] == "a little":
        return Pair(f"{en} a little {one.en}", f"{fr} un peu {one.fr}")
    return Pair(f"{en} {one.en} {manner[0]}", f"{fr} {manner[1]} {one.fr}")


@construction
def playing(draw: Draw) -> Pair:
    """She plays the violin every evening."""
    who = subject(draw)
    entry = draw.pick(lexicon.nouns("instrument", "sport"))
    preposition = "de" if entry.kind == "instrument" else "à"
    en_object = f"the {entry.en}" if entry.kind == "instrument" else entry.en
    rest = en_object, french.contract(preposition, noun_phrase(entry, "the").fr)
    tense = draw.pick(("present", "past", "used_to", "progressive", "future"))
    en, fr = clause(who, lexicon.PLAY, tense, rest)
    time = time_for(draw, "present" if tense == "used_to" else tense) if draw.chance(0.6) else ("", "")
    return Pair(f"{en} {time[0]}", f"{fr} {time[1]}")


TRANSPORT = (
    ("by train", "en train"),
    ("by bus", "en bus"),
    ("by car", "en voiture"),
    ("by plane", "en avion"),
    ("by bicycle", "à vélo"),
    ("on foot", "à pied"),
    ("by boat", "en bateau"),
    ("by taxi", "en taxi"),
)


@construction
def travel_means(draw: Draw) -> Pair:
    """They went to Spain by train."""
    who = subject(draw)
    means = draw.pick(TRANSPORT)
    goal = destination(draw)
    if goal[0].startswith("to the ") and goal[1].startswith(("à", "au")) and means[0] in ("by plane", "by boat"):
        means = ("by bus", "en bus")
    if not goal[0].startswith("to the ") and means[0] in ("on foot", "by taxi"):
        means = ("by train", "en train")
    tense = draw.pick(("past", "future", "going_to", "present"))
    en, fr = clause(who, lexicon.GO, tense, goal)
    time = time_for(draw, tense) if tense == "present" or draw.chance(0.3) else ("", "")
    if tense == "present" and not goal[0].startswith("to the "):
        time = draw.pick((*lexicon.SEASONS, ("every year", "tous les ans"), ("every summer", "tous les étés")))
    return Pair(f"{en} {means[0]} {time[0]}", f"{fr} {means[1]} {time[1]}")


@construction
def position(draw: Draw) -> Pair:
    """The cat is under the table."""
    entry = draw.pick(lexicon.nouns("animal", "thing", "dishes", "container", "text", "jewel", "tool"))
    place = draw.pick(lexicon.nouns("furniture", "container"))
    choices = (("on", "sur"), ("under", "sous"), ("behind", "derrière"), ("near", "près de"), ("in front of", "devant"))
    if entry.kind == "animal" or place.kind == "container" or place.en in ("mirror", "lamp", "clock", "carpet"):
        choices = (("near", "près de"), ("behind", "derrière"), ("in front of", "devant"))
    if place.en == "cupboard" and entry.kind != "animal":
        choices = (("in", "dans"), ("near", "près de"), ("in front of", "devant"))
    if entry.en in ("cow", "horse", "pig", "goat", "donkey", "sheep", "hen", "duck"):
        place = lexicon.noun("house")
    if entry == place:
        return position(draw)
    preposition = draw.pick(choices)
    owner = draw.pick(PRONOUNS)
    many = draw.chance(0.4) or (owner.many and personal(entry))
    phrase = noun_phrase(entry, draw.pick(("the", "own")), many, None, owner)
    there = noun_phrase(place, "the")
    past = draw.chance(0.3)
    verb = (
        english.to_be(phrase.person, past),
        french.simple_form("être", "imperfect" if past else "present", phrase.person),
    )
    return Pair(
        f"{phrase.en} {verb[0]} {preposition[0]} {there.en}", f"{phrase.fr} {verb[1]} {there.after(preposition[1])}"
    )


@construction
def liking(draw: Draw) -> Pair:
    """The children like strawberries."""
    who = subject(draw)
    rest = liked(draw)
    action = draw.pick((lexicon.LIKE, lexicon.HATE, lexicon.LIKE))
    tense = draw.pick(("present", "present", "past"))
    negation = "not" if action is lexicon.LIKE and draw.chance(0.4) else ""
    if action is lexicon.LIKE and not negation and draw.chance(0.3):
        en, fr = clause(who, action, tense)
        return Pair(f"{en} {rest[0]} a lot", f"{fr} beaucoup {rest[1]}")
    return Pair(*clause(who, action, tense, rest, negation=negation))


@construction
def preference(draw: Draw) -> Pair:
    """I prefer tea to coffee."""
    who = subject(draw)
    kind = draw.pick(("drink", "fruit", "food", "sport", "science", "wild", "animal", "vegetable", "dish", "show"))
    one, two = draw.pair(lexicon.NOUNS[kind])
    # "le café au lait" is a drink of its own.
    if two.en == "milk":
        one, two = two, one
    first, second = generic(one), generic(two)
    tense = draw.pick(("present", "present", "past"))
    en, fr = clause(who, lexicon.PREFER, tense)
    return Pair(f"{en} {first.en} to {second.en}", f"{fr} {first.fr} {second.after('à')}")


@construction
def missing(draw: Draw) -> Pair:
    """I miss Paul."""
    who = subject(draw)
    other = someone(draw, who)
    tense = draw.pick(("present", "past", "future"))
    verb = french.Verb("manquer")
    simple = {"past": "imperfect"}.get(tense, tense)
    action = Action(english.Verb("miss"), verb, stative=True)
    if who in PRONOUNS:
        fr = french.predicate(verb, other.person, simple, clitics=(indirect(who),))
        return Pair(f"{who.en} {verb_en(who, action, tense)} {other.en}", f"{other.fr} {fr}")
    fr = french.predicate(verb, other.person, simple)
    return Pair(f"{who.en} {verb_en(who, action, tense)} {other.en}", f"{other.fr} {fr} {who.after('à')}")


# Reflexive verbs


@construction
def reflexive_present(draw: Draw) -> Pair:
    """I get up at six o'clock every day."""
    who = subject(draw)
    action = draw.pick(
        tuple(a for a in lexicon.REFLEXIVES if a.en.particle not in ("married", "a mistake", "lost", "bored"))
    )
    tense = draw.pick(("present", "future", "used_to"))
    time = hour(draw, True) if action.en.particle in ("up", "to bed", "asleep", "dressed") else ("", "")
    habit = habit_time(draw) if tense != "future" else draw.pick(SHORTLY)
    if action.en.base in HALTS:
        time = draw.pick(HALTS[action.en.base])
        habit = draw.pick(ROUND) if tense != "future" else ("tomorrow", "demain")
    elif time[0]:
        day = draw.pick(lexicon.WEEKDAYS)
        often = draw.pick((("every day", "tous les jours"), (f"on {english.plural(day[0])}", f"le {day[1]}")))
        habit = often if tense != "future" else ("tomorrow", "demain")
    en, fr = clause(who, action, tense)
    # French says the day before the hour.
    when = f"{habit[1]} {time[1]}" if time[1].startswith("à ") and "heures" in time[1] else f"{time[1]} {habit[1]}"
    return Pair(f"{en} {time[0]} {habit[0]}", f"{fr} {when}")


# Where one sits down or stops, day after day.
HALTS: dict[str, tuple[Both, ...]] = {
    "sit": (("in the garden", "dans le jardin"), ("in this armchair", "dans ce fauteuil"), ("here", "ici")),
    "stop": (("at the bakery", "à la boulangerie"), ("in this village", "dans ce village"), ("here", "ici")),
    "hurry": (("", ""),),
    "shave": (("", ""), ("in the bathroom", "dans la salle de bains")),
}
_HOURS: tuple[Both, ...] = (("early", "tôt"), ("late", "tard"), ("very early", "très tôt"), ("very late", "très tard"))
# How one rises and goes to bed, by the particle of the English verb.
EARLY: dict[str, tuple[Both, ...]] = {
    "up": _HOURS,
    "to bed": _HOURS,
    "asleep": _HOURS,
    "dressed": (("quickly", "rapidement"), ("in the bedroom", "dans la chambre")),
}
ROUND: tuple[Both, ...] = (
    ("every day", "tous les jours"),
    ("every morning", "tous les matins"),
    ("every evening", "tous les soirs"),
)


@construction
def reflexive_perfect(draw: Draw) -> Pair:
    """The girls had fun at the party."""
    who = subject(draw)
    action = draw.pick(lexicon.REFLEXIVES)
    negation = "not" if draw.chance(0.3) else ""
    # What one does daily is told of a day, and what did not happen did not happen "eight weeks ago".
    far = action.en.particle in ("married", "lost", "for a walk", "fun", "bored") and not negation
    time = past_time(draw) if far else draw.pick(LATELY)
    place = draw.pick(HALTS.get(action.en.base, EARLY.get(action.en.particle, (("", ""),))))
    # Nobody gets up early last night.
    time = draw.pick(LATELY[2:]) if action.en.particle == "up" else time
    return Pair(*with_time(clause(who, action, "past", place, negation=negation), time, draw))


@construction
def reflexive_infinitive(draw: Draw) -> Pair:
    """We must hurry."""
    who = subject(draw)
    action = draw.pick(
        tuple(a for a in lexicon.REFLEXIVES if a.en.particle not in ("a mistake", "lost", "bored", "married"))
    )
    modal = draw.pick(MODALS)
    time = draw.pick(
        (
            ("", ""),
            ("tomorrow", "demain"),
            ("tonight", "ce soir"),
            ("now", "maintenant"),
            ("before dinner", "avant le dîner"),
        )
    )
    if modal[2] == "imperfect":
        time = ("", "")
    return Pair(
        f"{who.en} {modal_en(modal, who)} {base(action)} {time[0]}",
        f"{who.fr} {modal_fr(modal, who)} {infinitive(action, who)} {time[1]}",
    )


# Modals and infinitives

# English with "{is}" or "{s}" to fill, the French verb, its tense, its negation.
MODALS: tuple[tuple[str, str, str, str], ...] = (
    ("can", "pouvoir", "present", ""),
    ("cannot", "pouvoir", "present", "pas"),
    ("could", "pouvoir", "conditional", ""),
    ("must", "devoir", "present", ""),
    ("must not", "devoir", "present", "pas"),
    ("should", "devoir", "conditional", ""),
    ("should not", "devoir", "conditional", "pas"),
    ("will be able to", "pouvoir", "future", ""),
    ("will have to", "devoir", "future", ""),
    ("want to", "vouloir", "present", ""),
    ("do not want to", "vouloir", "present", "pas"),
    ("wanted to", "vouloir", "imperfect", ""),
)


def modal_en(modal: tuple[str, str, str, str], who: Phrase) -> str:
    """Gives the English modal for a subject."""
    if who.person == french.IL:
        return {"want to": "wants to", "do not want to": "does not want to"}.get(modal[0], modal[0])
    return modal[0]


def modal_fr(modal: tuple[str, str, str, str], who: Phrase) -> str:
    """Gives the French modal for a subject."""
    return french.predicate(french.Verb(modal[1]), who.person, modal[2], negation=modal[3])


@construction
def modal_thing(draw: Draw) -> Pair:
    """You should read this novel."""
    who = subject(draw)
    modal = draw.pick(MODALS)
    action, rest = deed(draw, who, negative=bool(modal[3]), willed=True)
    return Pair(
        f"{who.en} {modal_en(modal, who)} {base(action, rest[0])}",
        f"{who.fr} {modal_fr(modal, who)} {infinitive(action, who, rest[1])}",
    )


@construction
def modal_pronoun(draw: Draw) -> Pair:
    """We cannot help them."""
    who = subject(draw)
    other = other_pronoun(draw, who)
    modal = draw.pick(MODALS)
    if draw.chance(0.6):
        action, pronoun_fr = draw.pick(tuple(a for a in DYNAMIC_SOCIAL if a.willed)), direct(other)
    else:
        action, pronoun_fr = draw.pick(tuple(a for a in lexicon.INDIRECT if a.willed)), indirect(other)
    time = future_time(draw, action) if draw.chance(0.5) and modal[2] in ("future", "conditional") else ("", "")
    return Pair(
        f"{who.en} {modal_en(modal, who)} {base(action)} {object_en(other)} {time[0]}",
        f"{who.fr} {modal_fr(modal, who)} {infinitive(action, who, clitics=(pronoun_fr,))} {time[1]}",
    )


@construction
def modal_past(draw: Draw) -> Pair:
    """She had to sell her car."""
    who = subject(draw)
    en, verb, negation = draw.pick(
        (("had to", "devoir", ""), ("was able to", "pouvoir", ""), ("was not able to", "pouvoir", "pas"))
    )
    action, rest = deed(draw, who, negative=bool(negation), willed=True)
    if who.many or who.person == french.VOUS:
        en = en.replace("was", "were")
    fr = french.predicate(french.Verb(verb), who.person, "perfect", negation=negation)
    return Pair(f"{who.en} {en} {base(action, rest[0])}", f"{who.fr} {fr} {infinitive(action, who, rest[1])}")


@construction
def know_how(draw: Draw) -> Pair:
    """My daughter knows how to swim."""
    who = subject(draw)
    negation = draw.chance(0.5)
    if draw.chance(0.6):
        action = draw.pick(tuple(a for a in ACTIONS if a.en.base in SKILLS))
        entry = draw.pick(countable(action))
        phrase = noun_phrase(entry, "this") if negation or draw.chance(0.3) else noun_phrase(entry, "a")
        rest = phrase.en, phrase.fr
    else:
        swim = ("swim", "dance", "sing", "cook", "read")
        action, rest = draw.pick(tuple(a for a in lexicon.INTRANSITIVE if a.en.base in swim)), ("", "")
    en = verb_en(who, lexicon.KNOW_HOW, "present", "not" if negation else "")
    fr = french_verb(who, lexicon.KNOW_HOW, "present", "pas" if negation else "")
    return Pair(f"{who.en} {en} how to {base(action, rest[0])}", f"{who.fr} {fr} {infinitive(action, who, rest[1])}")


SKILLS = (
    *(
        "make",
        "repair",
        "use",
        "draw",
        "drive",
        "build",
        "translate",
        "write",
        "solve",
        "explain",
        "cut",
        "open",
        "close",
    ),
    *("paint", "plant", "prepare", "organise"),
)


LINKED: tuple[tuple[str, str, str], ...] = (
    ("try to", "essayer", "de"),
    ("decide to", "décider", "de"),
    ("refuse to", "refuser", "de"),
    ("promise to", "promettre", "de"),
    ("forget to", "oublier", "de"),
    ("begin to", "commencer", "à"),
    ("learn to", "apprendre", "à"),
    ("stop", "arrêter", "de"),
    ("finish", "finir", "de"),
    ("manage to", "réussir", "à"),
    ("hope to", "espérer", ""),
)


@construction
def linked_infinitive(draw: Draw) -> Pair:
    """He tried to open the gate."""
    who = subject(draw)
    action, rest = deed(draw, who, willed=True)
    # One learns a skill.
    skilled = action.en.base in (*SKILLS, "swim", "dance", "sing", "cook", "run")
    en, fr, preposition = draw.pick(tuple(link for link in LINKED if skilled or link[0] != "learn to"))
    head = english.Verb(en.split()[0])
    tense = draw.pick(("past", "past", "future"))
    if en == "hope to":
        tense = "present"
    lead_en = english.predicate(head, who.person, tense)
    second = ing(action, rest[0]) if " " not in en else "to " + base(action, rest[0])
    lead_fr = french.predicate(french.Verb(fr), who.person, {"past": "perfect"}.get(tense, tense))
    return Pair(f"{who.en} {lead_en} {second}", f"{who.fr} {lead_fr} {preposition} {infinitive(action, who, rest[1])}")


ASKED: tuple[tuple[str, str], ...] = (
    ("ask", "demander"),
    ("allow", "permettre"),
    ("advise", "conseiller"),
)


@construction
def asked_to(draw: Draw) -> Pair:
    """The judge asked us to wait."""
    who = subject(draw)
    other = other_pronoun(draw, who)
    en, fr = draw.pick(ASKED)
    action, rest = deed(draw, other, willed=True)
    tense = draw.pick(("past", "future", "past"))
    lead = french.predicate(
        french.Verb(fr), who.person, "perfect" if tense == "past" else "future", clitics=(indirect(other),)
    )
    lead_en = english.predicate(english.Verb(en), who.person, tense)
    return Pair(
        f"{who.en} {lead_en} {object_en(other)} to {base(action, rest[0])}",
        f"{who.fr} {lead} de {infinitive(action, other, rest[1])}",
    )


@construction
def want_that(draw: Draw) -> Pair:
    """I want you to read this letter."""
    who = subject(draw)
    other = other_pronoun(draw, who)
    action, rest = act(draw, other, willed=True)
    subjunctive = french.predicate(action.fr, other.person, "subjunctive")
    return Pair(
        f"{who.en} {verb_en(who, lexicon.WANT, 'present')} {object_en(other)} to {base(action, rest[0])}",
        f"{who.fr} {french_verb(who, lexicon.WANT, 'present')} que {other.fr} {subjunctive} {rest[1]}",
    )


@construction
def impersonal(draw: Draw) -> Pair:
    """It is easy to translate this sentence."""
    adjective = draw.pick(
        (
            ("easy", "facile"),
            ("difficult", "difficile"),
            ("dangerous", "dangereux"),
            ("important", "important"),
            ("useful", "utile"),
            ("useless", "inutile"),
            ("impossible", "impossible"),
            ("possible", "possible"),
            ("forbidden", "interdit"),
            ("necessary", "nécessaire"),
        )
    )
    definite = draw.chance(0.5)
    action, rest = act(draw, YOU, willed=True, definite=definite)
    risky = ("cross", "catch", "push", "lift", "drive", "use")
    if adjective[0] in ("dangerous", "forbidden") and action.en.base not in risky:
        return impersonal(draw)
    if rest[0].startswith("your") or action.en.base in ("touch", "count", "hide"):
        return impersonal(draw)
    verb = draw.pick(
        (("is", "est"), ("was", "était"), ("will be", "sera"), ("is not", "ne est pas") if definite else ("is", "est"))
    )
    return Pair(
        f"it {verb[0]} {adjective[0]} to {base(action, rest[0])}",
        f"il {verb[1]} {adjective[1]} de {infinitive(action, HE, rest[1])}",
    )


@construction
def purpose(draw: Draw) -> Pair:
    """She went to the market to buy some cherries."""
    who = subject(draw)
    place = draw.pick(PURPOSES)
    entry = draw.pick(lexicon.entries(place[2]))
    again = indefinite(draw, entry)
    action = next(a for a in (*lexicon.TRANSITIVE, lexicon.SOCIAL[0]) if a.en.base == place[1])
    shop = lexicon.noun(place[0])
    tense = draw.pick(("past", "future", "going_to", "progressive"))
    en, fr = clause(who, lexicon.GO, tense, (f"to the {shop.en}", french.contract("à", noun_phrase(shop, "the").fr)))
    return Pair(f"{en} to {base(action, again.en)}", f"{fr} pour {infinitive(action, who, again.fr)}")


PURPOSES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("market", "buy", ("fruit", "vegetable", "food", "plant", "animal")),
    ("supermarket", "buy", ("food", "drink", "ingredient", "vegetable", "fruit")),
    ("shop", "buy", ("clothes", "footwear", "jewel", "furniture", "tool", "device", "thing")),
    ("restaurant", "eat", ("served",)),
    ("bakery", "buy", ("baked",)),
    ("library", "read", ("library",)),
    ("library", "study", ("science", "language")),
    ("cinema", "see", ("film",)),
    ("stadium", "see", ("match",)),
    ("theatre", "see", ("theatre",)),
    ("farm", "buy", ("vegetable", "animal")),
    ("farm", "photograph", ("animal",)),
    ("university", "study", ("science", "language")),
    ("school", "learn", ("language",)),
    ("library", "borrow", ("text_lent",)),
    ("museum", "admire", ("painting",)),
)


@construction
def before_doing(draw: Draw) -> Pair:
    """We closed the windows before leaving."""
    who = subject(draw)
    tense = draw.pick(("past", "future"))
    action, rest = act(draw, who, willed=planned(tense))
    second, more = draw.pick(
        (
            (lexicon.LEAVE, ("", "")),
            (lexicon.GO_OUT, ("", "")),
            deed(draw, who, willed=True),
            (lexicon.GO, destination(draw)),
        )
    )
    en, fr = clause(who, action, tense, rest)
    return Pair(f"{en} before {ing(second, more[0])}", f"{fr} avant de {infinitive(second, who, more[1])}")


@construction
def without_doing(draw: Draw) -> Pair:
    """He left without closing the gate."""
    who = subject(draw)
    action = draw.pick((lexicon.LEAVE, lexicon.GO_OUT, lexicon.GO_HOME))
    second = draw.pick(tuple(a for a in lexicon.TRANSITIVE if a.en.base in LEFT_UNDONE))
    rest = object_of(draw, second, who, definite=True)
    en, fr = clause(who, action, draw.pick(("past", "past", "future")))
    return Pair(f"{en} without {ing(second, rest[0])}", f"{fr} sans {infinitive(second, who, rest[1])}")


LEFT_UNDONE = (
    *(
        "close",
        "finish",
        "take",
        "sign",
        "read",
        "check",
        "wash",
        "eat",
        "drink",
        "cancel",
        "explain",
        "repair",
        "clean",
        "open",
    ),
    *("visit", "hide", "accept", "understand", "solve", "begin", "taste", "copy", "feed"),
)


@construction
def while_doing(draw: Draw) -> Pair:
    """He cooks while singing."""
    who = subject(draw)
    action, rest = manual(draw, who)
    second = draw.pick(tuple(a for a in lexicon.INTRANSITIVE if a.en.base in ("sing", "laugh", "smile")))
    en, fr = clause(who, action, draw.pick(("progressive", "past", "past_progressive")), rest)
    return Pair(f"{en} while {second.en.ing()}", f"{fr} en {french.gerund(second.fr.infinitive)}")


@construction
def causative(draw: Draw) -> Pair:
    """The actor makes the children laugh."""
    who = subject(draw)
    other = someone(draw, who)
    action = draw.pick(
        tuple(
            a
            for a in lexicon.INTRANSITIVE
            if a.en.base in ("laugh", "cry", "wait", "work", "dance", "sing", "run", "smile", "dream")
        )
    )
    tense = draw.pick(("present", "past", "future"))
    make = Action(english.Verb("make"), french.Verb("faire"))
    en = verb_en(who, make, tense)
    if draw.chance(0.4):
        third = other_pronoun(draw, who)
        # "fait" before an infinitive never agrees.
        fr = french_verb(who, make, tense, clitics=(direct(third),))
        return Pair(f"{who.en} {en} {object_en(third)} {action.en.base}", f"{who.fr} {fr} {action.fr.infinitive}")
    fr = french_verb(who, make, tense)
    return Pair(f"{who.en} {en} {other.en} {action.en.base}", f"{who.fr} {fr} {action.fr.infinitive} {other.fr}")


# Conditions, reported speech, subordination


@construction
def condition_real(draw: Draw) -> Pair:
    """If it rains, we will stay at home."""
    who = subject(draw)
    if draw.chance(0.5):
        lead, fair = draw.pick(SKIES)
        if fair:
            action, rest = draw.pick(
                (
                    (
                        lexicon.GO,
                        draw.pick(
                            (
                                ("to the beach", "à la plage"),
                                ("to the market", "au marché"),
                                ("to the castle", "au château"),
                            )
                        ),
                    ),
                    (REST, ("in the garden", "dans le jardin")),
                    (STROLL, ("", "")),
                    swimming(draw),
                    watering(draw, who),
                )
            )
        else:
            action, rest = draw.pick(
                (
                    (lexicon.STAY, draw.pick((("at home", "à la maison"), ("in bed", "au lit"), indoors(draw)))),
                    (
                        lexicon.GO,
                        draw.pick(
                            (
                                ("to the cinema", "au cinéma"),
                                ("to the museum", "au musée"),
                                ("to the library", "à la bibliothèque"),
                            )
                        ),
                    ),
                    reading(draw, who),
                    wearing(draw, who),
                )
            )
    else:
        other = subject(draw)
        lead = draw.pick(
            (
                clause(other, lexicon.COME, "present"),
                clause(other, lexicon.ARRIVE, "present", ("late", "en retard")),
                clause(other, lexicon.ARRIVE, "present", ("on time", "à l'heure")),
                clause(
                    other,
                    lexicon.HAVE,
                    "present",
                    draw.pick((("time", "le temps"), ("enough money", "assez d'argent"))),
                ),
            )
        )
        action, rest = deed(draw, who, willed=True)
    two = clause(who, action, "future", rest)
    return Pair(f"if {lead[0]}, {two[0]}", f"si {lead[1]}, {two[1]}")


# The weather one reckons with, and whether it is fair.
SKIES: tuple[tuple[Both, bool], ...] = (
    (("it rains", "il pleut"), False),
    (("it snows", "il neige"), False),
    (("it is cold", "il fait froid"), False),
    (("it is windy", "il y a du vent"), False),
    (("the weather is nice", "il fait beau"), True),
    (("it is hot", "il fait chaud"), True),
)
REST = next(a for a in lexicon.REFLEXIVES if a.en.base == "rest")
STROLL = next(a for a in lexicon.REFLEXIVES if a.en.particle == "for a walk")


def done_to(draw: Draw, who: Phrase, name: str, kinds: tuple[str, ...] = ()) -> tuple[Action, Both]:
    """Gives one named action with an object that suits it, of some kinds when they are given."""
    action = next(a for a in lexicon.TRANSITIVE if a.en.base == name)
    choices = lexicon.entries(kinds) if kinds else lexicon.objects_of(action)
    return action, complement(action, object_phrase(draw, draw.pick(choices), who, many=None if not kinds else False))


def swimming(draw: Draw) -> tuple[Action, Both]:
    """Gives a swim."""
    action = next(a for a in lexicon.INTRANSITIVE if a.en.base == "swim")
    return action, setting(draw, action)


def watering(draw: Draw, who: Phrase) -> tuple[Action, Both]:
    """Gives the watering of plants."""
    return done_to(draw, who, "water")


def reading(draw: Draw, who: Phrase) -> tuple[Action, Both]:
    """Gives something to read indoors."""
    return done_to(draw, who, "read", ("cosy",))


def wearing(draw: Draw, who: Phrase) -> tuple[Action, Both]:
    """Gives something warm to wear."""
    if who.many:
        action = next(a for a in lexicon.TRANSITIVE if a.en.base == "wear")
        return action, worn_by_each(draw, who, draw.pick(lexicon.entries(("warm",))))
    return done_to(draw, who, "wear", ("warm",))


@construction
def condition_unreal(draw: Draw) -> Pair:
    """If I were rich, I would buy a castle."""
    who = draw.pick(PRONOUNS) if draw.chance(0.6) else named(draw) if draw.chance(0.5) else person(draw, 0)
    again = pronoun(who)
    name, wishes = draw.pick(WERE)
    adjective = next(a for a in lexicon.ADJECTIVES if a.en == name)
    action = draw.pick(
        tuple(a for a in (*lexicon.TRANSITIVE, *lexicon.SOCIAL, *lexicon.INTRANSITIVE) if a.en.base in wishes)
    )
    if action in lexicon.SOCIAL:
        rest = complement(action, someone(draw, who))
    elif action in lexicon.INTRANSITIVE:
        rest = setting(draw, action)
    else:
        rest = bought(draw, action) if name == "rich" else object_of(draw, action, again)
    two = clause(again, action, "conditional", rest)
    fr = french_verb(who, lexicon.BE, "past")
    return Pair(
        f"if {who.en} were {adjective.en}, {two[0]}", f"si {who.fr} {fr} {be_adjective(who, adjective)}, {two[1]}"
    )


def bought(draw: Draw, action: Action) -> Both:
    """Gives what a wish is for: what is bought is worth wishing for."""
    choices = lexicon.entries(TREASURES) if action.en.base == "buy" else lexicon.objects_of(action)
    return complement(action, indefinite(draw, draw.pick(choices)))


TREASURES = ("vehicle", "home", "jewel", "ride", "instrument", "device", "furniture")


# What one might be, and the verbs it would lead to.
WERE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("rich", ("buy", "rent", "build", "travel")),
    ("kind", ("help", "invite", "thank")),
    ("polite", ("greet", "thank", "listen")),
    ("brave", ("catch", "cross", "swim")),
    ("strong", ("lift", "carry", "push", "move")),
    ("patient", ("teach", "wait", "explain")),
    ("young", ("dance", "travel", "run", "learn")),
    ("happy", ("sing", "dance", "laugh")),
    ("sick", ("sleep",)),
    ("serious", ("study", "work")),
    ("curious", ("visit", "read", "learn")),
    ("angry", ("shout",)),
)


@construction
def condition_had(draw: Draw) -> Pair:
    """If she had time, she would visit the museum."""
    who = subject(draw)
    again = pronoun(who)
    have, wishes = draw.pick(HAD)
    if not wishes:
        action, rest = deed(draw, again, willed=True)
    elif wishes == ("go",):
        action, rest = lexicon.GO, destination(draw)
    elif wishes == ("invite",):
        action, rest = lexicon.SOCIAL[9], complement(lexicon.SOCIAL[9], someone(draw, who))
    else:
        action = draw.pick(tuple(a for a in lexicon.TRANSITIVE if a.en.base in wishes))
        rest = bought(draw, action)
    if who.many and have[0] == "a bicycle":
        have = ("bicycles", have[1])
    one = clause(who, lexicon.HAVE, "past", have)
    two = clause(again, action, "conditional", rest)
    return Pair(f"if {one[0]}, {two[0]}", f"si {one[1]}, {two[1]}")


# What one might have, and the verbs it would make possible; none named means any.
HAD: tuple[tuple[Both, tuple[str, ...]], ...] = (
    (("time", "le temps"), ()),
    (("time", "le temps"), ()),
    (("enough money", "assez d'argent"), ("buy", "rent", "build")),
    (("more money", "plus d'argent"), ("buy", "rent", "build")),
    (("a car", "une voiture"), ("go",)),
    (("a bicycle", "un vélo"), ("go",)),
    (("a garden", "un jardin"), ("plant",)),
    (("a computer", "un ordinateur"), ("write", "translate")),
    (("a big house", "une grande maison"), ("invite",)),
    (("a good camera", "un bon appareil photo"), ("photograph",)),
)


@construction
def condition_past(draw: Draw) -> Pair:
    """If we had found the key, we would have opened the box."""
    who = subject(draw)
    one, two, entry = chain(draw, who)
    phrase = noun_phrase(entry, "the", draw.chance(0.4) or several_worn(two, who))
    again = pronoun(who)
    first = clause(who, one, "pluperfect", complement(one, phrase))
    fr = french_verb(again, two, "past_conditional", clitics=(clitic(phrase),), agreement=(phrase.gender, phrase.many))
    return Pair(
        f"if {first[0]}, {again.en} {verb_en(again, two, 'past_conditional')} {it_en(phrase)}",
        f"si {first[1]}, {again.fr} {fr}",
    )


@construction
def when_future(draw: Draw) -> Pair:
    """When they arrive, we will prepare dinner."""
    who, other = subject(draw), subject(draw)
    action, rest = deed(draw, other, willed=True)
    motion = draw.pick((lexicon.ARRIVE, lexicon.COME_BACK, lexicon.LEAVE))
    one = f"{who.en} {verb_en(who, motion, 'present')}", f"{who.fr} {french_verb(who, motion, 'future')}"
    two = clause(other, action, "future", rest)
    return Pair(f"when {one[0]}, {two[0]}", f"quand {one[1]}, {two[1]}")


@construction
def reported(draw: Draw) -> Pair:
    """Claire says that the baker will sell the house."""
    who = subject(draw)
    en, fr = draw.pick(
        (("say", "dire"), ("think", "penser"), ("know", "savoir"), ("believe", "croire"), ("hope", "espérer"))
    )
    other = subject(draw)
    tense = draw.pick(("past", "future", "going_to")) if en != "hope" else "future"
    action, rest = deed(draw, other, willed=planned(tense))
    two = clause(other, action, tense, rest)
    return Pair(
        f"{who.en} {english.predicate(english.Verb(en), who.person, 'present')} that {two[0]}",
        f"{who.fr} {french.simple_form(fr, 'present', who.person)} que {two[1]}",
    )


@construction
def reported_past(draw: Draw) -> Pair:
    """He told me that he would come."""
    who = subject(draw)
    again = pronoun(who)
    other = other_pronoun(draw, who)
    action, rest = deed(draw, who, willed=True)
    en, fr = draw.pick(
        (("tell", "dire"), ("promise", "promettre"), ("explain to", "expliquer"), ("write to", "écrire"))
    )
    lead = french.predicate(french.Verb(fr), who.person, "perfect", clitics=(indirect(other),))
    tense = "conditional" if en in ("promise", "tell") and draw.chance(0.6) else "pluperfect"
    if en == "promise":
        tense = "conditional"
    two = clause(again, action, tense, rest)
    base_en, _, particle = en.partition(" ")
    lead_en = english.predicate(english.Verb(base_en, particle), who.person, "past")
    return Pair(
        f"{who.en} {lead_en} {object_en(other)} that {two[0]}",
        f"{who.fr} {lead} que {two[1]}",
    )


@construction
def because_state(draw: Draw) -> Pair:
    """She did not come because she was sick."""
    who = subject(draw)
    again = pronoun(who)
    adjective = draw.pick(
        tuple(
            a
            for a in lexicon.ADJECTIVES
            if a.en in ("tired", "sick", "busy", "angry", "sad", "worried", "nervous", "shy", "lazy")
        )
    )
    action, rest = draw.pick(
        (
            act(draw, who, negative=True, willed=True),
            (lexicon.COME, ("", "")),
            (lexicon.GO_OUT, ("", "")),
            (lexicon.GO, destination(draw)),
        )
    )
    one = clause(who, action, "past", rest, negation="not")
    fr = french_verb(again, lexicon.BE, "past")
    return Pair(
        f"{one[0]} because {again.en} {english.to_be(again.person, True)} {adjective.en}",
        f"{one[1]} parce que {again.fr} {fr} {be_adjective(again, adjective)}",
    )


@construction
def although(draw: Draw) -> Pair:
    """He is working although he is tired."""
    who = subject(draw)
    again = pronoun(who)
    adjective = draw.pick(
        tuple(
            a
            for a in lexicon.ADJECTIVES
            if a.en in ("tired", "sick", "busy", "sad", "worried", "nervous", "shy", "lazy")
        )
    )
    action, rest = deed(draw, who, ongoing=True)
    one = clause(who, action, "progressive", rest)
    fr = french.predicate(french.Verb("être"), again.person, "subjunctive")
    return Pair(
        f"{one[0]} although {again.en} {english.to_be(again.person)} {adjective.en}",
        f"{one[1]} bien que {again.fr} {fr} {be_adjective(again, adjective)}",
    )


@construction
def so_that_result(draw: Draw) -> Pair:
    """I was tired, so I went home."""
    who = subject(draw)
    again = pronoun(who)
    names = ("tired", "sick", "angry", "sad", "worried", "nervous")
    adjective = draw.pick(tuple(a for a in lexicon.ADJECTIVES if a.en in names))
    action, rest = draw.pick(
        (
            (lexicon.GO_HOME, draw.pick((*TRANSPORT, ("", "")))),
            (lexicon.LEAVE, draw.pick((("very early", "très tôt"), ("without a word", "sans un mot")))),
            (lexicon.STAY, draw.pick((("at home", "à la maison"), ("in bed", "au lit"), indoors(draw)))),
            (next(a for a in lexicon.SOCIAL if a.en.base == "call"), complement(lexicon.LIKE, someone(draw, who))),
            (
                next(a for a in lexicon.INDIRECT if a.en.base == "phone"),
                complement(lexicon.INDIRECT[0], someone(draw, who)),
            ),
        )
    )
    two = clause(again, action, "past", rest)
    fr = french_verb(who, lexicon.BE, "past")
    return Pair(
        f"{who.en} {english.to_be(who.person, True)} {adjective.en}, so {two[0]}",
        f"{who.fr} {fr} {be_adjective(who, adjective)}, donc {two[1]}",
    )


@construction
def contrast(draw: Draw) -> Pair:
    """Paul likes coffee, but Marie prefers tea."""
    who = subject(draw)
    other = someone(draw, who)
    kind = draw.pick(("drink", "fruit", "food", "sport", "science", "animal", "wild", "vegetable", "dish", "show"))
    one, two = draw.pair(lexicon.NOUNS[kind])
    first = clause(who, lexicon.LIKE, "present", (generic(one).en, generic(one).fr))
    second = clause(other, lexicon.PREFER, "present", (generic(two).en, generic(two).fr))
    return Pair(f"{first[0]}, but {second[0]}", f"{first[1]}, mais {second[1]}")


@construction
def meanwhile(draw: Draw) -> Pair:
    """While Julie was reading, her brother was playing."""
    who = subject(draw)
    other = someone(draw, who)
    one = clause(who, *progressive_deed(draw, who, "past_progressive"))
    two = clause(other, *progressive_deed(draw, other, "past_progressive"))
    return Pair(f"while {one[0]}, {two[0]}", f"pendant que {one[1]}, {two[1]}")


def progressive_deed(draw: Draw, who: Phrase, tense: str) -> tuple[Action, str, Both]:
    """Gives a deed that lasts, in a given tense."""
    action, rest = deed(draw, who, ongoing=True)
    return action, tense, rest


# Coordination


@construction
def two_subjects(draw: Draw) -> Pair:
    """My brother and my sister have sold the house."""
    one, two = named(draw) if draw.chance(0.5) else relative(draw), named(draw) if draw.chance(0.5) else relative(draw)
    if one.en == two.en:
        return two_subjects(draw)
    gender = "f" if one.gender == two.gender == "f" else "m"
    both = Phrase(f"{one.en} and {two.en}", f"{one.fr} et {two.fr}", gender, True, french.ILS)
    tense = draw.pick(("past", "future", "perfect"))
    action, rest = draw.pick(
        (deed(draw, both, willed=planned(tense)), (lexicon.GO, destination(draw)), (lexicon.ARRIVE, ("", "")))
    )
    en, fr = clause(both, action, tense, rest)
    time = time_for(draw, tense, action) if tense != "perfect" and (draw.chance(0.5) or not rest[0]) else ("", "")
    return Pair(f"{en} {time[0]}", f"{fr} {time[1]}")


@construction
def two_objects(draw: Draw) -> Pair:
    """We bought some bread and some butter."""
    who = subject(draw)
    tense = draw.pick(("past", "future", "perfect"))
    while True:
        action = draw.pick(tuple(a for a in lexicon.TRANSITIVE if a.willed or not planned(tense)))
        one = draw.pick(lexicon.objects_of(action))
        others = tuple(n for n in lexicon.objects_of(action) if n.kind == one.kind and n != one)
        if others and one.kind not in ("meal", "structure") and not several_worn(action, who):
            break
    two = draw.pick(others)
    if one.kind in ("science", "language"):
        first, second = generic(one), generic(two)
    elif one.mass:
        first, second = noun_phrase(one, "some"), noun_phrase(two, "some")
    else:
        many = draw.chance(0.4) and one.kind not in ("room", "device", "venue", "building", "area", "landscape")
        determiner = draw.pick(("the", "some", "these") if many else ("the", "a", "this"))
        first, second = noun_phrase(one, determiner, many), noun_phrase(two, determiner, many)
    return Pair(*clause(who, action, tense, (f"{first.en} and {second.en}", f"{first.fr} et {second.fr}")))


@construction
def either_or(draw: Draw) -> Pair:
    """You can order the fish or the chicken."""
    who = draw.pick(PRONOUNS) if draw.chance(0.6) else subject(draw)
    modal = draw.pick(tuple(m for m in MODALS if not m[3]))
    names = (
        "choose",
        "buy",
        "take",
        "order",
        "borrow",
        "rent",
        "visit",
        "read",
        "wear",
        "sell",
        "watch",
        "use",
        "prepare",
        "study",
    )
    action = draw.pick(tuple(a for a in lexicon.TRANSITIVE if a.en.base in names))
    one, two = draw.pair(lexicon.objects_of(action))
    worn = action.en.base == "wear" and not (suits(who, one) and suits(who, two))
    if one.kind != two.kind or worn or several_worn(action, who):
        return either_or(draw)
    if one.mass or one.kind == "meal":
        first, second = generic(one, False), generic(two, False)
        if one.kind not in ("meal", "science", "language"):
            first, second = noun_phrase(one, "the"), noun_phrase(two, "the")
    else:
        determiner = draw.pick(("the", "a", "this"))
        first, second = noun_phrase(one, determiner), noun_phrase(two, determiner)
    return Pair(
        f"{who.en} {modal_en(modal, who)} {base(action, first.en)} or {second.en}",
        f"{who.fr} {modal_fr(modal, who)} {infinitive(action, who, first.fr)} ou {second.fr}",
    )


@construction
def two_deeds(draw: Draw) -> Pair:
    """He closed the door and he opened the windows."""
    who = subject(draw)
    again = pronoun(who)
    tense = draw.pick(("past", "future"))
    one = clause(who, *plain_deed(draw, who, tense))
    two = clause(again, *plain_deed(draw, again, tense))
    link = draw.pick((("and", "et"), (", then", ", puis"), ("and", "et")))
    return Pair(f"{one[0]} {link[0]} {two[0]}".replace(" ,", ","), f"{one[1]} {link[1]} {two[1]}".replace(" ,", ","))


def plain_deed(draw: Draw, who: Phrase, tense: str) -> tuple[Action, str, Both]:
    """Gives any deed in a given tense, for `clause`."""
    action, rest = deed(draw, who, willed=tense == "future")
    return action, tense, rest


@construction
def manner(draw: Draw) -> Pair:
    """She translated the letter carefully."""
    who = subject(draw)
    action, rest = manual(draw, who)
    adverb = draw.pick(MANNER)
    # The French adverb stands between the verb and its object.
    en, fr = clause(who, action, draw.pick(("past", "progressive", "future")), (rest[0], f"{adverb[1]} {rest[1]}"))
    return Pair(f"{en} {adverb[0]}", fr)


def manual(draw: Draw, who: Phrase) -> tuple[Action, Both]:
    """Gives something done with the hands or the head that takes a while."""
    action = draw.pick(tuple(a for a in ONGOING if a.en.base in CAREFUL))
    return action, object_of(draw, action, who, plain=True)


CAREFUL = (
    *(
        "wash",
        "clean",
        "open",
        "close",
        "repair",
        "cut",
        "write",
        "translate",
        "copy",
        "draw",
        "paint",
        "move",
        "explain",
        "read",
    ),
    *("prepare", "cross", "check", "build", "describe", "fill", "count", "water", "make"),
)


@construction
def passive_past(draw: Draw) -> Pair:
    """This bridge was built in 1962."""
    action = draw.pick(tuple(a for a in ACTIONS if a.en.base in PASSIVE))
    entry = draw.pick(tuple(n for n in countable(action) if n.kind != "language"))
    many = draw.chance(0.35)
    phrase = noun_phrase(entry, draw.pick(("the", "these" if many else "this")), many)
    was = (
        english.to_be(phrase.person, True),
        french.predicate(french.Verb("être"), phrase.person, "perfect"),
    )
    verb = draw.pick((was, was, ("will be", french.simple_form("être", "future", phrase.person))))
    if action.en.base == "build" or not action.willed:
        verb = was
    participle = french.agree(french.paradigm(action.fr.infinitive).participle, entry.gender, many)
    by = someone(draw, phrase)
    rest = draw.pick(
        (
            (f"by {by.en}", f"par {by.fr}"),
            (f"by {by.en}", f"par {by.fr}"),
            (f"in {(year := draw.pick(YEARS))}", f"en {year}"),
        )
    )
    if verb[0] == "will be" and rest[0].startswith("in "):
        rest = future_time(draw, action)
    return Pair(
        f"{phrase.en} {verb[0]} {action.en.participle()} {rest[0]}", f"{phrase.fr} {verb[1]} {participle} {rest[1]}"
    )


PASSIVE = (
    *(
        "build",
        "paint",
        "repair",
        "sell",
        "steal",
        "write",
        "translate",
        "sign",
        "clean",
        "wash",
        "find",
        "break",
        "open",
        "close",
    ),
    *(
        "organise",
        "cancel",
        "explain",
        "describe",
        "check",
        "burn",
        "plant",
        "hide",
        "prepare",
        "photograph",
        "feed",
    ),
)


@construction
def passive_indefinite(draw: Draw) -> Pair:
    """French is spoken in Belgium."""
    name, lands = draw.pick(SPOKEN)
    entry = lexicon.noun(name)
    degree = draw.pick((("", ""), ("also ", "aussi "), ("still ", "encore ")))
    if draw.chance(0.5):
        country = draw.pick(lands)
        land = next(place for place in lexicon.COUNTRIES if place.en == country)
        place = f"in {country}", land.inside
        town = draw.pick((("", ""), ("at school ", "à l'école "), ("at university ", "à l'université ")))
        # Nobody wonders that Japanese is "also" or "still" spoken in Japan.
        degree = ("", "") if country == lands[0] else degree
    else:
        place = ("in this village", "dans ce village") if draw.chance(0.5) else ("in this region", "dans cette région")
        town = ("", "")
    if town[0] or draw.chance(0.4):
        taught = generic(entry, False)
        return Pair(
            f"{entry.en} is {degree[0]}taught {town[0]}{place[0]}",
            f"on enseigne {degree[1]}{taught.fr} {town[1]}{place[1]}",
        )
    return Pair(f"{entry.en} is {degree[0]}spoken {place[0]}", f"on parle {degree[1]}{entry.fr} {place[1]}")


SPOKEN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("French", ("France", "Belgium", "Switzerland", "Canada", "Morocco")),
    ("English", ("England", "the United States", "Canada", "India")),
    ("Spanish", ("Spain", "Mexico")),
    ("German", ("Germany", "Switzerland", "Belgium")),
    ("Italian", ("Italy", "Switzerland")),
    ("Chinese", ("China",)),
    ("Japanese", ("Japan",)),
    ("Russian", ("Russia",)),
    ("Arabic", ("Egypt", "Morocco")),
    ("Portuguese", ("Portugal", "Brazil")),
)


@construction
def thinking(draw: Draw) -> Pair:
    """He often thinks about her."""
    who = subject(draw)
    other = other_pronoun(draw, who)
    action, preposition = draw.pick(((lexicon.THINK_OF, "à"), (lexicon.TALK_ABOUT, "de"), (lexicon.DREAM_OF, "de")))
    tense = draw.pick(("present", "progressive", "used_to", "past"))
    adverb = draw.pick(FREQUENCY) if tense == "present" else ("", "")
    if draw.chance(0.6):
        entry = draw.pick(lexicon.nouns(*(("relative", "building") if action is lexicon.DREAM_OF else SUBJECTS)))
        phrase = noun_phrase(
            entry, "own" if entry.kind == "relative" else "the", False, None, draw.pick((I, YOU, HE, SHE))
        )
        rest = phrase.en, phrase.after(preposition)
    else:
        rest = object_en(other), french.elide(f"{preposition} {stressed(other)}")
    return Pair(*clause(who, action, tense, rest, adverb=adverb))


SUBJECTS = ("gathering", "show", "text", "building", "relative", "idea")


@construction
def animal_act(draw: Draw) -> Pair:
    """The white cat is sleeping under the table."""
    entry = draw.pick(lexicon.nouns("animal"))
    many = draw.chance(0.4)
    adjective = adjective_of(draw, entry) if draw.chance(0.4) else None
    phrase = noun_phrase(entry, "the" if draw.chance(0.6) else "own", many, adjective, draw.pick(PRONOUNS))
    action = draw.pick(lexicon.ANIMAL_ACTS)
    place = draw.pick(
        (
            ("in the garden", "dans le jardin"),
            ("in the field", "dans le champ"),
            ("behind the house", "derrière la maison"),
            ("near the river", "près de la rivière"),
            ("under the tree", "sous l'arbre"),
            ("in the courtyard", "dans la cour"),
        )
    )
    tense = draw.pick(("progressive", "past_progressive", "past", "present"))
    en, fr = clause(phrase, action, tense, place)
    time = time_for(draw, tense) if tense == "present" or (tense == "past" and draw.chance(0.5)) else ("", "")
    return Pair(f"{en} {time[0]}", f"{fr} {time[1]}")


@construction
def wild_animal(draw: Draw) -> Pair:
    """We saw a wolf in the forest."""
    who = subject(draw)
    entry = draw.pick(lexicon.nouns("wild"))
    many = draw.chance(0.4)
    phrase = noun_phrase(
        entry,
        draw.pick(("two", "three", "several", "some")) if many else "a",
        many,
        adjective_of(draw, entry) if draw.chance(0.3) else None,
    )
    action = draw.pick(
        (
            lexicon.SOCIAL[0],
            next(a for a in lexicon.TRANSITIVE if a.en.base == "photograph"),
            next(a for a in lexicon.TRANSITIVE if a.en.base == "draw"),
        )
    )
    place = (
        location(draw)
        if action.en.base != "see"
        else draw.pick(
            (
                ("in the forest", "dans la forêt"),
                ("near the lake", "près du lac"),
                ("on the island", "sur l'île"),
                ("in the mountains", "dans les montagnes"),
                ("near the river", "près de la rivière"),
            )
        )
    )
    en, fr = clause(who, action, "past", (phrase.en, phrase.fr))
    time = past_time(draw) if draw.chance(0.4) else ("", "")
    return Pair(f"{en} {place[0]} {time[0]}", f"{fr} {place[1]} {time[1]}")


@construction
def my_friend(draw: Draw) -> Pair:
    """My friend Alice is coming back from Spain."""
    name = named(draw)
    owner = draw.pick((I, HE, SHE, WE, YOU, THEY))
    entry = draw.pick(tuple(n for n in lexicon.NOUNS["relative"] if n.gender == name.gender or n.en == "friend"))
    feminine_friend = entry.en == "friend" and name.gender == "f"
    if feminine_friend:
        entry = Noun("friend", "amie", "f", "relative")
    who = noun_phrase(entry, "own", owner=owner)
    who = replace(who, en=f"{who.en} {name.en}", fr=f"{who.fr} {name.fr}")
    tense = draw.pick(("past", "future", "past"))
    action, rest = draw.pick(
        (deed(draw, who, willed=planned(tense)), (lexicon.GO, destination(draw)), (lexicon.ARRIVE, ("", "")))
    )
    en, fr = clause(who, action, tense, rest)
    time = time_for(draw, tense, action) if draw.chance(0.5) or not rest[0] else ("", "")
    return Pair(f"{en} {time[0]}", f"{fr} {time[1]}")


# What takes more turns than the rest: sentences of several clauses, so that a model learns to hold them together.
WEIGHTS: dict[str, int] = {
    "story_of_two": 3,
    "story_of_three": 6,
    "present_third": 5,
    "progressive": 3,
    "places_count": 3,
    "reflexive_present": 3,
    "superlative": 3,
    "comparative_more": 4,
    "superlative_person": 3,
    "time_of_day": 2,
    **dict.fromkeys(
        (
            *(
                "imperfect_interrupted",
                "pluperfect",
                "when_future",
                "meanwhile",
                "although",
                "because_state",
                "reported",
            ),
            *("reported_past", "condition_real", "condition_unreal", "condition_had", "condition_past", "before_doing"),
            *("direct_thing_perfect", "direct_thing_negative", "double_pronoun", "relative_object", "relative_subject"),
            *(
                "relative_subject_object",
                "two_deeds",
                "asked_to",
                "want_that",
                "purpose",
                "without_doing",
                "dative_noun",
            ),
            *("indirect_person", "linked_infinitive", "reflexive_perfect"),
            *("body_pain",),
        ),
        2,
    ),
}


# Narratives, of which the long test set is made


def story(draw: Draw, clauses: int) -> Pair:
    """Gives a short narrative of several clauses about one person, in the past or in the future."""
    tense = draw.pick(("past", "future"))
    who = subject(draw, 0.3)
    again = pronoun(who)
    action, _, rest = plain_deed(draw, who, tense)
    time = time_for(draw, tense, action)
    one = clause(who, action, tense, rest)
    en, fr = f"{time[0]}, {one[0]}", f"{time[1]}, {one[1]}"
    told: set[str] = set()
    for step in range(1, clauses):
        two = story_step(draw, again, tense)
        # The same verb twice in one narrative sounds like a list.
        while (key := story_key(two[0])) in told:
            two = story_step(draw, again, tense)
        told.add(key)
        if step == clauses - 1:
            link = ("and then ", "et puis ")
        elif step > 1 and "but" not in told and draw.chance(0.4):
            told.add("but")
            link, two = ("but ", "mais "), setback(draw, again, tense)
        else:
            link = draw.pick(tuple(pair for pair in STORY_LINKS if pair[0] not in told))
            told.update(link[:1] if link[0].startswith("and") else ())
        en, fr = f"{en}, {link[0]}{two[0]}", f"{fr}, {link[1]}{two[1]}"
    return Pair(en, fr)


def story_key(text: str) -> str:
    """Gives what one narrative should not say twice: its verb, or that there is a reason."""
    return "because" if " because " in text else " ".join(text.split()[1:3])


STORY_LINKS: tuple[Both, ...] = (("", ""), ("then ", "puis "), ("and after that ", "et après cela "), ("", ""))


def setback(draw: Draw, who: Phrase, tense: str) -> Both:
    """Gives what somebody does not manage to do."""
    names = ("find", "buy", "understand", "finish", "open", "repair", "solve", "see", "watch", "visit", "check")
    if tense == "future":
        names = ("buy", "finish", "watch", "visit", "repair", "sell", "cancel")
    action = draw.pick(tuple(a for a in lexicon.TRANSITIVE if a.en.base in names))
    phrase = object_phrase(draw, draw.pick(lexicon.objects_of(action)), who, plain=True, definite=True)
    return clause(who, action, tense, complement(action, phrase), negation="not")


def because_tired(draw: Draw, who: Phrase, tense: str) -> Both:
    """Gives a pause and its reason: "he rested because he was tired"."""
    pause, place = draw.pick(((REST, ("", "")), (lexicon.GO_HOME, ("", ""))))
    en, fr = clause(who, pause, tense, place)
    state_name = draw.pick(("tired", "sick", "sad", "worried"))
    adjective = next(a for a in lexicon.ADJECTIVES if a.en == state_name)
    state = english.to_be(who.person, True)
    return (
        f"{en} because {who.en} {state} {adjective.en}",
        f"{fr} parce que {who.fr} {french_verb(who, lexicon.BE, tense)} {be_adjective(who, adjective)}",
    )


def story_step(draw: Draw, who: Phrase, tense: str) -> Both:
    """Gives one more clause of a narrative, with a reason, a purpose or a parallel scene now and then."""
    dice = draw.random.random()
    if dice < 0.12:
        return clause(who, lexicon.GO, tense, destination(draw))
    if dice < 0.25:
        shop, name, kinds = draw.pick(PURPOSES)
        place = noun_phrase(lexicon.noun(shop), "the")
        action = next(a for a in (*lexicon.TRANSITIVE, lexicon.SOCIAL[0]) if a.en.base == name)
        phrase = indefinite(draw, draw.pick(lexicon.entries(kinds)))
        en, fr = clause(who, lexicon.GO, tense, (f"to {place.en}", place.after("à")))
        return f"{en} to {base(action, phrase.en)}", f"{fr} pour {infinitive(action, who, phrase.fr)}"
    if dice < 0.4 and tense == "past":
        other = someone(draw, who)
        action, rest = deed(draw, other, ongoing=True)
        one = clause(who, *plain_deed(draw, who, tense))
        two = clause(other, action, "past_progressive", rest)
        return f"{one[0]} while {two[0]}", f"{one[1]} pendant que {two[1]}"
    if dice < 0.47 and tense == "past":
        return because_tired(draw, who, tense)
    if dice < 0.53:
        pauses = ("for a walk", "fun")
        return clause(who, draw.pick(tuple(a for a in lexicon.REFLEXIVES if a.en.particle in pauses)), tense)
    en, fr = clause(who, *plain_deed(draw, who, tense))
    if dice < 0.65:
        second, rest = deed(draw, who, willed=True)
        return f"{en} before {ing(second, rest[0])}", f"{fr} avant de {infinitive(second, who, rest[1])}"
    return en, fr


@construction
def story_of_two(draw: Draw) -> Pair:
    """Yesterday, Paul washed the car, and then he went to the market."""
    return story(draw, 2)


@construction
def story_of_three(draw: Draw) -> Pair:
    """Tomorrow, they will get up, they will visit the castle, and then they will go to the beach."""
    return story(draw, 3)


def long_story(draw: Draw) -> Pair:
    """A narrative of four to seven clauses: the sentences of the long test set."""
    return story(draw, draw.number(4, 7))
