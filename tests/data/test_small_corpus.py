"""The small corpus: the committed files, and the forms its sentences are made of."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import english
import french
import lexicon
import phrases
import pytest
import small_corpus
from constructions import CONSTRUCTIONS

SETS = ("train", "valid", "test", "long")


@pytest.fixture(scope="module")
def committed() -> dict[str, list[str]]:
    """The committed sentences by file name."""
    return {
        f"{name}.{code}": small_corpus.read(small_corpus.FOLDER, name, code) for name in SETS for code in ("en", "fr")
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_writing_again_gives_the_committed_bytes(tmp_path: Path) -> None:
    small_corpus.write(tmp_path, small_corpus.build()[0])
    for name in SETS:
        for code in ("en", "fr"):
            file = f"{name}.{code}"
            assert digest(tmp_path / file) == digest(small_corpus.FOLDER / file), file


def test_sizes(committed: dict[str, list[str]]) -> None:
    for name, size in small_corpus.SIZES.items():
        assert len(committed[f"{name}.en"]) == size
        assert len(committed[f"{name}.fr"]) == size
    assert sum(path.stat().st_size for path in small_corpus.FOLDER.iterdir()) < 4_000_000


def test_lengths(committed: dict[str, list[str]]) -> None:
    for name in SETS:
        low, high = small_corpus.LONG if name == "long" else small_corpus.SHORT
        for line in committed[f"{name}.en"]:
            assert low <= len(line.split()), line
            assert len(small_corpus.tokens(line)) <= high, line


def test_no_sentence_is_shared_or_repeated(committed: dict[str, list[str]]) -> None:
    for code in ("en", "fr"):
        everything = [line.lower() for name in SETS for line in committed[f"{name}.{code}"]]
        assert len(everything) == len(set(everything))


def test_breadth(committed: dict[str, list[str]]) -> None:
    counts = Counter(word.lower() for line in committed["train.en"] for word in small_corpus.tokens(line))
    assert len([word for word in counts if word.isalpha()]) >= 1_500
    assert len(CONSTRUCTIONS) >= 60
    assert min(small_corpus.lexicon_counts(counts).values()) >= 8


def test_files_are_clean_text(committed: dict[str, list[str]]) -> None:
    for file, lines in committed.items():
        for line in lines:
            assert line == " ".join(line.split()), (file, line)
            assert line[0].isupper(), (file, line)
            assert line[-1] in ".?!", (file, line)
        if file.endswith(".fr"):
            assert all(line[-2] == " " for line in lines if line[-1] in "?!")


def test_every_word_of_the_new_sets_is_mostly_known(committed: dict[str, list[str]]) -> None:
    known = {word.lower() for line in committed["train.en"] for word in small_corpus.tokens(line)}
    new = [word.lower() for line in committed["test.en"] for word in small_corpus.tokens(line)]
    assert sum(word not in known for word in new) / len(new) < 0.002


@pytest.mark.parametrize(
    ("text", "elided"),
    [
        ("je ai vu le arbre", "j'ai vu l'arbre"),
        ("si il ne est pas là", "s'il n'est pas là"),
        ("si elle vient", "si elle vient"),
        ("je pense que elle le aime", "je pense qu'elle l'aime"),
        ("le hibou et le homme", "le hibou et l'homme"),
        ("à onze heures, le onze mai", "à onze heures, le onze mai"),
        ("je y vais", "j'y vais"),
        ("ce est le œuf de Hélène", "c'est l'œuf d'Hélène"),
        ("parce que ils le ont", "parce qu'ils l'ont"),
    ],
)
def test_elision(text: str, elided: str) -> None:
    assert french.elide(text) == elided


@pytest.mark.parametrize(
    ("preposition", "phrase", "contracted"),
    [
        ("à", "le marché", "au marché"),
        ("à", "les États-Unis", "aux États-Unis"),
        ("à", "l'école", "à l'école"),
        ("à", "la gare", "à la gare"),
        ("de", "le pain", "du pain"),
        ("de", "les enfants", "des enfants"),
        ("de", "l'hôtel", "de l'hôtel"),
        ("de", "Alice", "d'Alice"),
        ("près de", "le lac", "près du lac"),
        ("par", "le maire", "par le maire"),
    ],
)
def test_contraction(preposition: str, phrase: str, contracted: str) -> None:
    assert french.contract(preposition, phrase) == contracted


@pytest.mark.parametrize(
    ("masculine", "forms"),
    [
        ("beau", "beau belle beaux belles"),
        ("vieux", "vieux vieille vieux vieilles"),
        ("nouveau", "nouveau nouvelle nouveaux nouvelles"),
        ("blanc", "blanc blanche blancs blanches"),
        ("sec", "sec sèche secs sèches"),
        ("frais", "frais fraîche frais fraîches"),
        ("gris", "gris grise gris grises"),
        ("cher", "cher chère chers chères"),
        ("heureux", "heureux heureuse heureux heureuses"),
        ("gentil", "gentil gentille gentils gentilles"),
        ("bon", "bon bonne bons bonnes"),
        ("italien", "italien italienne italiens italiennes"),
        ("bleu", "bleu bleue bleus bleues"),
        ("inquiet", "inquiet inquiète inquiets inquiètes"),
        ("rouge", "rouge rouge rouges rouges"),
        ("jaloux", "jaloux jalouse jaloux jalouses"),
        ("long", "long longue longs longues"),
        ("mûr", "mûr mûre mûrs mûres"),
        ("violet", "violet violette violets violettes"),
    ],
)
def test_adjectives(masculine: str, forms: str) -> None:
    found = [french.agree(masculine, gender, many) for many in (False, True) for gender in ("m", "f")]
    assert found == forms.split()


def test_adjectives_before_a_vowel() -> None:
    assert french.adjective_before("beau", "m", False, "arbre") == "bel"
    assert french.adjective_before("vieux", "m", False, "ami") == "vieil"
    assert french.adjective_before("nouveau", "m", False, "hôtel") == "nouvel"
    assert french.adjective_before("vieux", "m", False, "hibou") == "vieux"
    assert french.adjective_before("beau", "m", True, "arbres") == "beaux"


@pytest.mark.parametrize(
    ("singular", "many"),
    [
        ("cheval", "chevaux"),
        ("oiseau", "oiseaux"),
        ("genou", "genoux"),
        ("souris", "souris"),
        ("œil", "yeux"),
        ("festival", "festivals"),
        ("grand-mère", "grands-mères"),
        ("pomme de terre", "pommes de terre"),
        ("neveu", "neveux"),
        ("prix", "prix"),
    ],
)
def test_noun_plurals(singular: str, many: str) -> None:
    assert french.plural(singular) == many


# Checked by hand: je, il, nous, vous, ils.
CONJUGATION = [
    ("être", "present", "suis est sommes êtes sont"),
    ("être", "imperfect", "étais était étions étiez étaient"),
    ("être", "future", "serai sera serons serez seront"),
    ("avoir", "conditional", "aurais aurait aurions auriez auraient"),
    ("aller", "future", "irai ira irons irez iront"),
    ("faire", "present", "fais fait faisons faites font"),
    ("faire", "imperfect", "faisais faisait faisions faisiez faisaient"),
    ("dire", "present", "dis dit disons dites disent"),
    ("manger", "present", "mange mange mangeons mangez mangent"),
    ("manger", "imperfect", "mangeais mangeait mangions mangiez mangeaient"),
    ("commencer", "present", "commence commence commençons commencez commencent"),
    ("commencer", "imperfect", "commençais commençait commencions commenciez commençaient"),
    ("acheter", "present", "achète achète achetons achetez achètent"),
    ("acheter", "future", "achèterai achètera achèterons achèterez achèteront"),
    ("appeler", "present", "appelle appelle appelons appelez appellent"),
    ("appeler", "conditional", "appellerais appellerait appellerions appelleriez appelleraient"),
    ("préférer", "present", "préfère préfère préférons préférez préfèrent"),
    ("préférer", "future", "préférerai préférera préférerons préférerez préféreront"),
    ("nettoyer", "present", "nettoie nettoie nettoyons nettoyez nettoient"),
    ("nettoyer", "future", "nettoierai nettoiera nettoierons nettoierez nettoieront"),
    ("envoyer", "future", "enverrai enverra enverrons enverrez enverront"),
    ("finir", "present", "finis finit finissons finissez finissent"),
    ("finir", "imperfect", "finissais finissait finissions finissiez finissaient"),
    ("vendre", "present", "vends vend vendons vendez vendent"),
    ("prendre", "present", "prends prend prenons prenez prennent"),
    ("prendre", "subjunctive", "prenne prenne prenions preniez prennent"),
    ("boire", "subjunctive", "boive boive buvions buviez boivent"),
    ("venir", "present", "viens vient venons venez viennent"),
    ("venir", "future", "viendrai viendra viendrons viendrez viendront"),
    ("ouvrir", "present", "ouvre ouvre ouvrons ouvrez ouvrent"),
    ("cueillir", "future", "cueillerai cueillera cueillerons cueillerez cueilleront"),
    ("voir", "future", "verrai verra verrons verrez verront"),
    ("recevoir", "present", "reçois reçoit recevons recevez reçoivent"),
    ("peindre", "present", "peins peint peignons peignez peignent"),
    ("plaindre", "imperfect", "plaignais plaignait plaignions plaigniez plaignaient"),
    ("construire", "present", "construis construit construisons construisez construisent"),
    ("conduire", "future", "conduirai conduira conduirons conduirez conduiront"),
    ("mettre", "present", "mets met mettons mettez mettent"),
    ("courir", "future", "courrai courra courrons courrez courront"),
    ("mourir", "present", "meurs meurt mourons mourez meurent"),
    ("asseoir", "future", "assiérai assiéra assiérons assiérez assiéront"),
    ("résoudre", "present", "résous résout résolvons résolvez résolvent"),
    ("rire", "present", "ris rit rions riez rient"),
    ("étudier", "imperfect", "étudiais étudiait étudiions étudiiez étudiaient"),
]


@pytest.mark.parametrize(("infinitive", "tense", "forms"), CONJUGATION)
def test_conjugation(infinitive: str, tense: str, forms: str) -> None:
    assert [french.simple_form(infinitive, tense, person) for person in range(5)] == forms.split()


@pytest.mark.parametrize(
    ("infinitive", "participle"),
    [
        ("naître", "né"),
        ("mourir", "mort"),
        ("ouvrir", "ouvert"),
        ("prendre", "pris"),
        ("comprendre", "compris"),
        ("peindre", "peint"),
        ("traduire", "traduit"),
        ("recevoir", "reçu"),
        ("devoir", "dû"),
        ("répondre", "répondu"),
        ("choisir", "choisi"),
        ("appartenir", "appartenu"),
        ("asseoir", "assis"),
        ("résoudre", "résolu"),
        ("suivre", "suivi"),
    ],
)
def test_participles(infinitive: str, participle: str) -> None:
    assert french.paradigm(infinitive).participle == participle


def test_every_verb_of_the_lexicon_has_a_paradigm() -> None:
    actions = (*lexicon.TRANSITIVE, *lexicon.SOCIAL, *lexicon.INDIRECT, *lexicon.GIVING, *lexicon.INTRANSITIVE)
    for action in (*actions, *lexicon.REFLEXIVES, *lexicon.MOTION):
        for tense in ("present", "imperfect", "future", "conditional", "subjunctive"):
            for person in range(5):
                assert french.simple_form(action.fr.infinitive, tense, person)


def test_participle_agreement() -> None:
    go, see, wash = french.Verb("aller", "être"), french.Verb("voir"), french.Verb("laver", reflexive=True)
    assert french.predicate(go, 4, "perfect", gender="f", many=True) == "sont allées"
    assert french.predicate(see, 0, "perfect", clitics=("les",), agreement=("f", True)) == "les ai vues"
    assert french.predicate(see, 4, "perfect", gender="f", many=True) == "ont vu"
    assert french.predicate(wash, 1, "perfect", gender="f") == "se est lavée"


def test_negation_and_pronouns() -> None:
    give, see = french.Verb("donner"), french.Verb("voir")
    both = ("les", "lui")
    assert french.predicate(give, 0, "present", negation="pas", clitics=both) == "ne les lui donne pas"
    done = french.predicate(give, 0, "perfect", negation="jamais", clitics=both, agreement=("f", True))
    assert done == "ne les lui ai jamais données"
    assert french.predicate(see, 1, "perfect", negation="personne") == "ne a vu personne"
    assert french.predicate(see, 1, "perfect", negation="rien") == "ne a rien vu"
    assert french.predicate(see, 2, "near_future", negation="pas", clitics=("la",)) == "ne allons pas la voir"


def test_orders() -> None:
    give, rise = french.Verb("donner"), french.Verb("lever", reflexive=True)
    assert french.imperative_group(give, french.VOUS, ("me", "le")) == "donnez-le-moi"
    assert french.imperative_group(give, french.VOUS, ("les", "leur")) == "donnez-les-leur"
    assert french.imperative_group(give, french.VOUS, ("me", "le"), "pas") == "ne me le donnez pas"
    assert french.imperative_group(rise, french.VOUS) == "levez-vous"


def test_inversion() -> None:
    assert french.predicate(french.Verb("avoir"), 1, "present", inverted="elle") == "a-t-elle"
    assert french.predicate(french.Verb("vouloir"), 3, "present", inverted="vous") == "voulez-vous"


@pytest.mark.parametrize(
    ("noun", "determiner", "many", "adjective", "expected"),
    [
        ("tree", "a", False, "beautiful", ("a beautiful tree", "un bel arbre")),
        ("house", "some", True, "beautiful", ("some beautiful houses", "de belles maisons")),
        ("apple", "some", True, "ripe", ("some ripe apples", "des pommes mûres")),
        ("water", "some", False, None, ("some water", "de l'eau")),
        ("bread", "some", False, None, ("some bread", "du pain")),
        ("hotel", "this", False, None, ("this hotel", "cet hôtel")),
        ("friend", "own", False, "old", ("my old friend", "mon vieil ami")),
        ("wardrobe", "own", False, None, ("my wardrobe", "mon armoire")),
        ("bean", "the", False, None, ("the bean", "le haricot")),
        ("uniform", "a", False, "new", ("a new uniform", "un nouvel uniforme")),
        ("onion", "no", True, None, ("any onions", "d'oignons")),
        ("church", "which", True, None, ("which churches", "quelles églises")),
    ],
)
def test_noun_phrases(noun: str, determiner: str, many: bool, adjective: str | None, expected: tuple[str, str]) -> None:
    quality = next((entry for entry in lexicon.ADJECTIVES if entry.en == adjective), None)
    phrase = phrases.noun_phrase(lexicon.noun(noun), determiner, many, quality, phrases.I)
    assert (phrase.en, phrase.fr) == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (21, ("twenty-one", "vingt et un")),
        (71, ("seventy-one", "soixante et onze")),
        (80, ("eighty", "quatre-vingts")),
        (81, ("eighty-one", "quatre-vingt-un")),
        (95, ("ninety-five", "quatre-vingt-quinze")),
        (60, ("sixty", "soixante")),
    ],
)
def test_numbers(value: int, words: tuple[str, str]) -> None:
    assert (phrases.number_en(value), phrases.number_fr(value)) == words


@pytest.mark.parametrize(
    ("base", "forms"),
    [
        ("describe", "describes described describing"),
        ("carry", "carries carried carrying"),
        ("stop", "stops stopped stopping"),
        ("travel", "travels travelled travelling"),
        ("lie", "lies lied lying"),
        ("teach", "teaches taught teaching"),
        ("write", "writes wrote writing"),
        ("cry", "cries cried crying"),
        ("be", "is was being"),
        ("see", "sees saw seeing"),
        ("play", "plays played playing"),
    ],
)
def test_english_verbs(base: str, forms: str) -> None:
    verb = english.Verb(base)
    assert [verb.third(), verb.past(), verb.ing()] == forms.split()


@pytest.mark.parametrize(
    ("singular", "many"),
    [
        ("church", "churches"),
        ("city", "cities"),
        ("knife", "knives"),
        ("sheep", "sheep"),
        ("postman", "postmen"),
        ("washing machine", "washing machines"),
        ("toy", "toys"),
        ("stomach", "stomachs"),
    ],
)
def test_english_plurals(singular: str, many: str) -> None:
    assert english.plural(singular) == many


def test_english_articles() -> None:
    found = [english.with_article(word) for word in ("apple", "uniform", "honest man", "hour", "university")]
    assert found == ["an apple", "a uniform", "an honest man", "an hour", "a university"]


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("beach", ("on the beach", "sur la plage")),
        ("port", ("in the port", "dans le port")),
        ("school", ("at the school", "à l'école")),
        ("market", ("at the market", "au marché")),
    ],
)
def test_where_things_happen(noun: str, expected: tuple[str, str]) -> None:
    assert phrases.at(lexicon.noun(noun)) == expected


@pytest.mark.parametrize(
    ("determiner", "adjective", "expected"),
    [
        ("a", None, ("caps", "une casquette")),
        ("own", None, ("their caps", "leur casquette")),
        ("own", "red", ("their red caps", "leur casquette rouge")),
    ],
)
def test_several_people_have_one_each(determiner: str, adjective: str | None, expected: tuple[str, str]) -> None:
    quality = next((entry for entry in lexicon.ADJECTIVES if entry.en == adjective), None)
    cap = phrases.noun_phrase(lexicon.noun("cap"), determiner, False, quality, phrases.THEY)
    phrase = phrases.one_each(cap, phrases.THEY, quality)
    assert (phrase.en, phrase.fr) == expected


def test_no_near_future_of_going_nor_of_looking_for() -> None:
    look_for = next(action for action in lexicon.SOCIAL if action.fr.infinitive == "chercher")
    assert [phrases.ahead(action, "going_to") for action in (lexicon.GO, look_for)] == ["future", "future"]
    assert phrases.ahead(lexicon.ARRIVE, "going_to") == "going_to"
