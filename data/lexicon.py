"""The bilingual lexicon: nouns, adjectives and verbs with the semantic kinds that decide what may go with what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import english
import french


@dataclass(frozen=True)
class Noun:
    """A noun in both languages with its French gender and its semantic kind; `mass` nouns have no plural here."""

    en: str
    fr: str
    gender: str
    kind: str
    mass: bool = False

    def english(self, many: bool) -> str:
        """Gives the English form."""
        return english.plural(self.en) if many else self.en

    def french(self, many: bool) -> str:
        """Gives the French form."""
        return french.plural(self.fr) if many else self.fr


_NOUNS: dict[str, list[tuple[str, str, str]]] = {
    "job": [
        ("teacher", "professeur", "m"),
        ("student", "étudiant", "m"),
        ("doctor", "médecin", "m"),
        ("nurse", "infirmière", "f"),
        ("lawyer", "avocat", "m"),
        ("farmer", "fermier", "m"),
        ("baker", "boulanger", "m"),
        ("butcher", "boucher", "m"),
        ("cook", "cuisinier", "m"),
        ("waiter", "serveur", "m"),
        ("waitress", "serveuse", "f"),
        ("actor", "acteur", "m"),
        ("actress", "actrice", "f"),
        ("singer", "chanteur", "m"),
        ("painter", "peintre", "m"),
        ("writer", "écrivain", "m"),
        ("journalist", "journaliste", "m"),
        ("engineer", "ingénieur", "m"),
        ("mechanic", "mécanicien", "m"),
        ("driver", "chauffeur", "m"),
        ("pilot", "pilote", "m"),
        ("sailor", "marin", "m"),
        ("soldier", "soldat", "m"),
        ("policeman", "policier", "m"),
        ("fireman", "pompier", "m"),
        ("postman", "facteur", "m"),
        ("gardener", "jardinier", "m"),
        ("hairdresser", "coiffeur", "m"),
        ("dentist", "dentiste", "m"),
        ("judge", "juge", "m"),
        ("musician", "musicien", "m"),
        ("dancer", "danseur", "m"),
        ("architect", "architecte", "m"),
        ("scientist", "scientifique", "m"),
        ("carpenter", "menuisier", "m"),
        ("secretary", "secrétaire", "f"),
        ("librarian", "bibliothécaire", "m"),
        ("fisherman", "pêcheur", "m"),
        ("photographer", "photographe", "m"),
        ("translator", "traducteur", "m"),
    ],
    "person": [
        ("man", "homme", "m"),
        ("woman", "femme", "f"),
        ("boy", "garçon", "m"),
        ("girl", "fille", "f"),
        ("child", "enfant", "m"),
        ("king", "roi", "m"),
        ("queen", "reine", "f"),
        ("prince", "prince", "m"),
        ("princess", "princesse", "f"),
        ("mayor", "maire", "m"),
        ("minister", "ministre", "m"),
        ("president", "président", "m"),
        ("guest", "invité", "m"),
        ("tourist", "touriste", "m"),
        ("traveller", "voyageur", "m"),
        ("customer", "client", "m"),
        ("pupil", "élève", "m"),
        ("worker", "ouvrier", "m"),
        ("champion", "champion", "m"),
    ],
    "relative": [
        ("father", "père", "m"),
        ("mother", "mère", "f"),
        ("brother", "frère", "m"),
        ("sister", "sœur", "f"),
        ("son", "fils", "m"),
        ("daughter", "fille", "f"),
        ("uncle", "oncle", "m"),
        ("aunt", "tante", "f"),
        ("grandfather", "grand-père", "m"),
        ("grandmother", "grand-mère", "f"),
        ("cousin", "cousin", "m"),
        ("nephew", "neveu", "m"),
        ("niece", "nièce", "f"),
        ("friend", "ami", "m"),
        ("neighbour", "voisin", "m"),
        ("colleague", "collègue", "m"),
        ("boss", "patron", "m"),
    ],
    "animal": [
        ("dog", "chien", "m"),
        ("cat", "chat", "m"),
        ("horse", "cheval", "m"),
        ("cow", "vache", "f"),
        ("pig", "cochon", "m"),
        ("sheep", "mouton", "m"),
        ("goat", "chèvre", "f"),
        ("hen", "poule", "f"),
        ("duck", "canard", "m"),
        ("bird", "oiseau", "m"),
        ("rabbit", "lapin", "m"),
        ("donkey", "âne", "m"),
        ("parrot", "perroquet", "m"),
        ("turtle", "tortue", "f"),
    ],
    "wild": [
        ("lion", "lion", "m"),
        ("tiger", "tigre", "m"),
        ("bear", "ours", "m"),
        ("wolf", "loup", "m"),
        ("fox", "renard", "m"),
        ("monkey", "singe", "m"),
        ("elephant", "éléphant", "m"),
        ("snake", "serpent", "m"),
        ("owl", "hibou", "m"),
        ("whale", "baleine", "f"),
        ("eagle", "aigle", "m"),
        ("mouse", "souris", "f"),
        ("frog", "grenouille", "f"),
        ("spider", "araignée", "f"),
        ("butterfly", "papillon", "m"),
        ("bee", "abeille", "f"),
    ],
    "fruit": [
        ("apple", "pomme", "f"),
        ("pear", "poire", "f"),
        ("orange", "orange", "f"),
        ("banana", "banane", "f"),
        ("peach", "pêche", "f"),
        ("cherry", "cerise", "f"),
        ("strawberry", "fraise", "f"),
        ("melon", "melon", "m"),
        ("tomato", "tomate", "f"),
        ("apricot", "abricot", "m"),
    ],
    "vegetable": [
        ("potato", "pomme de terre", "f"),
        ("carrot", "carotte", "f"),
        ("onion", "oignon", "m"),
        ("mushroom", "champignon", "m"),
        ("bean", "haricot", "m"),
        ("lemon", "citron", "m"),
    ],
    "dish": [
        ("egg", "œuf", "m"),
        ("cake", "gâteau", "m"),
        ("biscuit", "biscuit", "m"),
        ("sandwich", "sandwich", "m"),
        ("omelette", "omelette", "f"),
        ("pizza", "pizza", "f"),
        ("tart", "tarte", "f"),
        ("sausage", "saucisse", "f"),
        ("pancake", "crêpe", "f"),
        ("sweet", "bonbon", "m"),
    ],
    "food": [
        ("bread", "pain", "m"),
        ("butter", "beurre", "m"),
        ("cheese", "fromage", "m"),
        ("meat", "viande", "f"),
        ("rice", "riz", "m"),
        ("soup", "soupe", "f"),
        ("salad", "salade", "f"),
        ("honey", "miel", "m"),
        ("chocolate", "chocolat", "m"),
        ("jam", "confiture", "f"),
        ("ham", "jambon", "m"),
        ("chicken", "poulet", "m"),
        ("ice cream", "glace", "f"),
        ("beef", "bœuf", "m"),
        ("fish", "poisson", "m"),
    ],
    "ingredient": [
        ("sugar", "sucre", "m"),
        ("salt", "sel", "m"),
        ("flour", "farine", "f"),
        ("oil", "huile", "f"),
        ("pepper", "poivre", "m"),
        ("cream", "crème", "f"),
    ],
    "drink": [
        ("water", "eau", "f"),
        ("milk", "lait", "m"),
        ("coffee", "café", "m"),
        ("tea", "thé", "m"),
        ("wine", "vin", "m"),
        ("beer", "bière", "f"),
        ("orange juice", "jus d'orange", "m"),
        ("lemonade", "limonade", "f"),
    ],
    "text": [
        ("book", "livre", "m"),
        ("newspaper", "journal", "m"),
        ("magazine", "magazine", "m"),
        ("novel", "roman", "m"),
        ("dictionary", "dictionnaire", "m"),
        ("map", "carte", "f"),
        ("menu", "menu", "m"),
    ],
    "writing": [
        ("letter", "lettre", "f"),
        ("poem", "poème", "m"),
        ("article", "article", "m"),
        ("report", "rapport", "m"),
        ("message", "message", "m"),
        ("postcard", "carte postale", "f"),
        ("contract", "contrat", "m"),
        ("list", "liste", "f"),
        ("story", "histoire", "f"),
    ],
    "tool": [
        ("hammer", "marteau", "m"),
        ("saw", "scie", "f"),
        ("knife", "couteau", "m"),
        ("rope", "corde", "f"),
        ("ladder", "échelle", "f"),
        ("shovel", "pelle", "f"),
        ("needle", "aiguille", "f"),
        ("broom", "balai", "m"),
        ("axe", "hache", "f"),
        ("screwdriver", "tournevis", "m"),
        ("brush", "brosse", "f"),
    ],
    "container": [
        ("box", "boîte", "f"),
        ("bag", "sac", "m"),
        ("basket", "panier", "m"),
        ("suitcase", "valise", "f"),
        ("bucket", "seau", "m"),
    ],
    "dishes": [
        ("bottle", "bouteille", "f"),
        ("glass", "verre", "m"),
        ("cup", "tasse", "f"),
        ("plate", "assiette", "f"),
        ("bowl", "bol", "m"),
        ("fork", "fourchette", "f"),
        ("spoon", "cuillère", "f"),
        ("saucepan", "casserole", "f"),
    ],
    "thing": [
        ("key", "clé", "f"),
        ("umbrella", "parapluie", "m"),
        ("wallet", "portefeuille", "m"),
        ("candle", "bougie", "f"),
        ("towel", "serviette", "f"),
        ("pillow", "oreiller", "m"),
        ("blanket", "couverture", "f"),
        ("pen", "stylo", "m"),
        ("pencil", "crayon", "m"),
        ("ruler", "règle", "f"),
        ("notebook", "cahier", "m"),
        ("balloon", "ballon", "m"),
        ("doll", "poupée", "f"),
        ("kite", "cerf-volant", "m"),
        ("toy", "jouet", "m"),
        ("gift", "cadeau", "m"),
        ("ticket", "billet", "m"),
        ("stamp", "timbre", "m"),
        ("photo", "photo", "f"),
        ("painting", "tableau", "m"),
        ("passport", "passeport", "m"),
    ],
    "jewel": [
        ("ring", "bague", "f"),
        ("necklace", "collier", "m"),
        ("watch", "montre", "f"),
    ],
    "furniture": [
        ("table", "table", "f"),
        ("chair", "chaise", "f"),
        ("bed", "lit", "m"),
        ("sofa", "canapé", "m"),
        ("desk", "bureau", "m"),
        ("cupboard", "placard", "m"),
        ("wardrobe", "armoire", "f"),
        ("shelf", "étagère", "f"),
        ("carpet", "tapis", "m"),
        ("armchair", "fauteuil", "m"),
        ("lamp", "lampe", "f"),
        ("mirror", "miroir", "m"),
        ("clock", "horloge", "f"),
    ],
    "opening": [
        ("door", "porte", "f"),
        ("window", "fenêtre", "f"),
        ("gate", "portail", "m"),
        ("drawer", "tiroir", "m"),
    ],
    "structure": [
        ("roof", "toit", "m"),
        ("wall", "mur", "m"),
    ],
    "device": [
        ("computer", "ordinateur", "m"),
        ("phone", "téléphone", "m"),
        ("television", "télévision", "f"),
        ("radio", "radio", "f"),
        ("printer", "imprimante", "f"),
        ("camera", "appareil photo", "m"),
        ("fridge", "réfrigérateur", "m"),
        ("oven", "four", "m"),
        ("washing machine", "machine à laver", "f"),
        ("keyboard", "clavier", "m"),
    ],
    "vehicle": [
        ("car", "voiture", "f"),
        ("bus", "bus", "m"),
        ("lorry", "camion", "m"),
        ("taxi", "taxi", "m"),
        ("tractor", "tracteur", "m"),
    ],
    "ride": [
        ("bicycle", "vélo", "m"),
        ("motorbike", "moto", "f"),
        ("boat", "bateau", "m"),
    ],
    "transport": [
        ("train", "train", "m"),
        ("plane", "avion", "m"),
        ("tram", "tramway", "m"),
    ],
    "clothes": [
        ("dress", "robe", "f"),
        ("shirt", "chemise", "f"),
        ("skirt", "jupe", "f"),
        ("coat", "manteau", "m"),
        ("hat", "chapeau", "m"),
        ("jacket", "veste", "f"),
        ("sweater", "pull", "m"),
        ("scarf", "écharpe", "f"),
        ("tie", "cravate", "f"),
        ("belt", "ceinture", "f"),
        ("cap", "casquette", "f"),
        ("apron", "tablier", "m"),
        ("uniform", "uniforme", "m"),
    ],
    "footwear": [
        ("shoe", "chaussure", "f"),
        ("boot", "botte", "f"),
        ("glove", "gant", "m"),
        ("sock", "chaussette", "f"),
        ("sandal", "sandale", "f"),
    ],
    # Places one goes "to" and is "at": à + article.
    "venue": [
        ("school", "école", "f"),
        ("hospital", "hôpital", "m"),
        ("church", "église", "f"),
        ("museum", "musée", "m"),
        ("station", "gare", "f"),
        ("airport", "aéroport", "m"),
        ("library", "bibliothèque", "f"),
        ("restaurant", "restaurant", "m"),
        ("hotel", "hôtel", "m"),
        ("shop", "magasin", "m"),
        ("market", "marché", "m"),
        ("bank", "banque", "f"),
        ("theatre", "théâtre", "m"),
        ("cinema", "cinéma", "m"),
        ("factory", "usine", "f"),
        ("post office", "poste", "f"),
        ("pharmacy", "pharmacie", "f"),
        ("bakery", "boulangerie", "f"),
        ("supermarket", "supermarché", "m"),
        ("stadium", "stade", "m"),
        ("swimming pool", "piscine", "f"),
        ("farm", "ferme", "f"),
        ("university", "université", "f"),
        ("beach", "plage", "f"),
        ("castle", "château", "m"),
        ("port", "port", "m"),
    ],
    "building": [
        ("house", "maison", "f"),
        ("flat", "appartement", "m"),
        ("tower", "tour", "f"),
        ("bridge", "pont", "m"),
        ("palace", "palais", "m"),
    ],
    "room": [
        ("kitchen", "cuisine", "f"),
        ("bedroom", "chambre", "f"),
        ("living room", "salon", "m"),
        ("bathroom", "salle de bains", "f"),
        ("cellar", "cave", "f"),
        ("attic", "grenier", "m"),
        ("garage", "garage", "m"),
        ("corridor", "couloir", "m"),
        ("garden", "jardin", "m"),
        ("courtyard", "cour", "f"),
        ("dining room", "salle à manger", "f"),
    ],
    "area": [
        ("city", "ville", "f"),
        ("village", "village", "m"),
        ("country", "pays", "m"),
        ("street", "rue", "f"),
        ("neighbourhood", "quartier", "m"),
        ("region", "région", "f"),
    ],
    "landscape": [
        ("mountain", "montagne", "f"),
        ("river", "rivière", "f"),
        ("lake", "lac", "m"),
        ("forest", "forêt", "f"),
        ("island", "île", "f"),
        ("field", "champ", "m"),
        ("hill", "colline", "f"),
        ("desert", "désert", "m"),
        ("valley", "vallée", "f"),
        ("path", "chemin", "m"),
        ("road", "route", "f"),
    ],
    "plant": [
        ("tree", "arbre", "m"),
        ("flower", "fleur", "f"),
        ("rose", "rose", "f"),
        ("plant", "plante", "f"),
    ],
    "tune": [
        ("song", "chanson", "f"),
    ],
    "instrument": [
        ("piano", "piano", "m"),
        ("guitar", "guitare", "f"),
        ("violin", "violon", "m"),
        ("flute", "flûte", "f"),
        ("trumpet", "trompette", "f"),
        ("accordion", "accordéon", "m"),
    ],
    "sport": [
        ("football", "football", "m"),
        ("tennis", "tennis", "m"),
        ("rugby", "rugby", "m"),
        ("basketball", "basket", "m"),
        ("golf", "golf", "m"),
        ("volleyball", "volley", "m"),
    ],
    "show": [
        ("film", "film", "m"),
        ("match", "match", "m"),
        ("concert", "concert", "m"),
        ("play", "pièce", "f"),
        ("race", "course", "f"),
    ],
    "gathering": [
        ("meeting", "réunion", "f"),
        ("party", "fête", "f"),
        ("lesson", "leçon", "f"),
        ("trip", "voyage", "m"),
        ("wedding", "mariage", "m"),
        ("exhibition", "exposition", "f"),
        ("conference", "conférence", "f"),
        ("festival", "festival", "m"),
        ("exam", "examen", "m"),
    ],
    "meal": [
        ("breakfast", "petit déjeuner", "m"),
        ("lunch", "déjeuner", "m"),
        ("dinner", "dîner", "m"),
    ],
    "idea": [
        ("idea", "idée", "f"),
        ("question", "question", "f"),
        ("answer", "réponse", "f"),
        ("plan", "plan", "m"),
        ("decision", "décision", "f"),
        ("project", "projet", "m"),
        ("choice", "choix", "m"),
        ("solution", "solution", "f"),
        ("rule", "règle", "f"),
        ("problem", "problème", "m"),
        ("mistake", "erreur", "f"),
        ("word", "mot", "m"),
        ("sentence", "phrase", "f"),
        ("exercise", "exercice", "m"),
        ("riddle", "énigme", "f"),
    ],
    "science": [
        ("history", "histoire", "f"),
        ("geography", "géographie", "f"),
        ("physics", "physique", "f"),
        ("chemistry", "chimie", "f"),
        ("biology", "biologie", "f"),
        ("music", "musique", "f"),
        ("philosophy", "philosophie", "f"),
        ("medicine", "médecine", "f"),
        ("law", "droit", "m"),
    ],
    "language": [
        ("French", "français", "m"),
        ("English", "anglais", "m"),
        ("Spanish", "espagnol", "m"),
        ("German", "allemand", "m"),
        ("Italian", "italien", "m"),
        ("Chinese", "chinois", "m"),
        ("Japanese", "japonais", "m"),
        ("Russian", "russe", "m"),
        ("Arabic", "arabe", "m"),
        ("Portuguese", "portugais", "m"),
    ],
    "body": [
        ("head", "tête", "f"),
        ("hand", "main", "f"),
        ("foot", "pied", "m"),
        ("back", "dos", "m"),
        ("arm", "bras", "m"),
        ("leg", "jambe", "f"),
        ("knee", "genou", "m"),
        ("finger", "doigt", "m"),
        ("shoulder", "épaule", "f"),
        ("throat", "gorge", "f"),
        ("stomach", "ventre", "m"),
        ("tooth", "dent", "f"),
        ("ear", "oreille", "f"),
    ],
}

_MASS = ("food", "ingredient", "drink", "sport", "science", "language")

NOUNS: dict[str, tuple[Noun, ...]] = {
    kind: tuple(Noun(en, fr, gender, kind, kind in _MASS) for en, fr, gender in rows) for kind, rows in _NOUNS.items()
}


PEOPLE = ("job", "person", "relative")
EATEN_WHOLE = ("fruit", "vegetable", "dish")
EDIBLE = (*EATEN_WHOLE, "food")
GROCERY = (*EDIBLE, "ingredient", "drink")
READABLE = ("text", "writing")
SMALL = ("tool", "container", "dishes", "thing", "jewel", "clothes", "footwear", "text", "writing")
GOODS = (*SMALL, "furniture", "device", "ride", "instrument")
# What is bought and sold; letters and reports are not.
MERCHANDISE = tuple(kind for kind in GOODS if kind != "writing")
WORN = ("clothes", "footwear", "jewel")
# What each person has one of: several people have several in English, but French keeps one each.
PERSONAL = ("umbrella", "wallet", "pen", "pencil", "ruler", "notebook", "passport")
FEMININE_WEAR = ("dress", "skirt")


@cache
def nouns(*kinds: str) -> tuple[Noun, ...]:
    """Gives the nouns of some kinds, in the order of the lexicon."""
    return tuple(noun for kind in kinds for noun in NOUNS[kind])


@cache
def noun(en: str) -> Noun:
    """Gives the noun whose English is `en`."""
    return next(entry for entries in NOUNS.values() for entry in entries if entry.en == en)


@dataclass(frozen=True)
class Adjective:
    """An adjective, the kinds of noun it may qualify, and whether it stands before the French noun."""

    en: str
    fr: str
    kinds: tuple[str, ...]
    before: bool = False
    comparative: str = ""
    attributive: bool = True

    def qualifies(self, entry: Noun) -> bool:
        """Gives whether the adjective makes sense with the noun."""
        return entry.kind in self.kinds


_OBJECTS = (*GOODS, "vehicle", "opening")
_COLOURED = (
    *("tool", "container", "dishes", "clothes", "footwear", "furniture", "opening", "vehicle", "ride"),
    *("plant", "structure"),
)
_MINDS = ("job", "person", "relative")
_CREATURES = (*_MINDS, "animal")
_ENTERTAINING = ("show", "tune", "gathering", "text", "writing")
_BIG = (
    *("container", "furniture", "device", "vehicle", "ride", "opening", "structure", "venue", "building", "room"),
    *("area", "landscape", "animal", "wild", "dish", "fruit", "plant", "dishes", "tool"),
)

ADJECTIVES: tuple[Adjective, ...] = (
    Adjective("big", "grand", tuple(k for k in _BIG if k not in ("fruit", "animal", "wild", "dish")), True, "bigger"),
    Adjective("small", "petit", (*_BIG, "thing", "jewel", "child"), True, "smaller"),
    Adjective("new", "nouveau", (*_OBJECTS, "venue", "building", "show", "tune", "idea", "job"), True, "newer"),
    Adjective("old", "vieux", (*_OBJECTS, *_CREATURES, "venue", "building", "area", "plant"), True, "older"),
    Adjective(
        "beautiful",
        "beau",
        (
            *("clothes", "jewel", "furniture", "building", "area", "landscape", "plant", "tune", "animal", "room"),
            "text",
        ),
        True,
    ),
    Adjective("good", "bon", (*EDIBLE, "drink", *_MINDS, *_ENTERTAINING, "idea", "meal"), True, "better"),
    Adjective("bad", "mauvais", (*EDIBLE, "drink", *_ENTERTAINING, "idea", "meal"), True, "worse"),
    Adjective(
        "pretty", "joli", ("clothes", "jewel", "dishes", "area", "plant", "tune", "room", "thing"), True, "prettier"
    ),
    Adjective("long", "long", ("writing", "show", "gathering", "landscape_way", "clothes"), True, "longer"),
    Adjective("young", "jeune", _MINDS, True, "younger"),
    Adjective("red", "rouge", (*_COLOURED, "fruit")),
    Adjective("blue", "bleu", _COLOURED),
    Adjective("green", "vert", (*_COLOURED, "fruit")),
    Adjective("white", "blanc", (*_COLOURED, "animal")),
    Adjective("black", "noir", (*_COLOURED, "animal")),
    Adjective("yellow", "jaune", _COLOURED),
    Adjective("grey", "gris", (*_COLOURED, "animal")),
    Adjective("brown", "brun", (*_COLOURED, "animal")),
    Adjective("pink", "rose", ("clothes", "footwear", "dishes", "furniture")),
    Adjective("purple", "violet", ("clothes", "footwear", "dishes", "furniture")),
    Adjective(
        "expensive",
        "cher",
        (
            "clothes",
            "footwear",
            "jewel",
            "furniture",
            "device",
            "ride",
            "vehicle",
            "instrument",
            *EDIBLE,
            "drink",
            "priced",
        ),
    ),
    Adjective("heavy", "lourd", ("tool", "container", "furniture", "device", "instrument", "meal"), False, "heavier"),
    Adjective("light", "léger", ("tool", "container", "clothes", "footwear", "meal", "ride"), False, "lighter"),
    Adjective(
        "clean",
        "propre",
        ("dishes", "clothes", "footwear", "vehicle", "room", "furniture", "area_cleaned"),
        False,
        "cleaner",
    ),
    Adjective(
        "dirty",
        "sale",
        ("dishes", "clothes", "footwear", "vehicle", "room", "furniture", "area_cleaned"),
        False,
        "dirtier",
    ),
    Adjective("empty", "vide", ("container", "venue", "room", "vehicle", "drawer")),
    Adjective("full", "plein", ("container", "filled"), False, "", False),
    Adjective("broken", "cassé", ("dishes", "device", "tool", "furniture", "opening")),
    Adjective("modern", "moderne", ("device", "furniture", "venue", "building", "area", "room", "vehicle")),
    Adjective("strange", "étrange", (*_MINDS, *_ENTERTAINING, "idea", "building", "area"), False, "stranger"),
    Adjective("useful", "utile", ("tool", "device", "text", "idea", "container")),
    Adjective("useless", "inutile", ("tool", "device", "text", "idea", "gathering")),
    Adjective("important", "important", ("idea", "gathering", "writing", "person", "area")),
    Adjective("interesting", "intéressant", ("idea", "gathering", "writing", "text", "show", "person", "venue_seen")),
    Adjective("boring", "ennuyeux", ("gathering", "writing", "text", "show", "person")),
    Adjective("difficult", "difficile", ("idea", "text", "tune"), False),
    Adjective("easy", "facile", ("idea", "tune"), False, "easier"),
    Adjective("famous", "célèbre", ("job", "person", "show", "tune", "text", "building", "area")),
    Adjective("dangerous", "dangereux", ("wild", "tool", "landscape", "area", "idea_risky")),
    Adjective("quiet", "calme", ("area", "venue", "room", "landscape", *_CREATURES), False, "quieter"),
    Adjective("noisy", "bruyant", ("area", "venue", "room", "animal", "device", "vehicle"), False, "noisier"),
    Adjective("comfortable", "confortable", ("furniture_soft", "footwear", "clothes", "vehicle", "home", "room")),
    Adjective("round", "rond", ("round_thing",)),
    Adjective("square", "carré", ("square_thing",)),
    Adjective("hot", "chaud", ("drink", "food_hot", "dish", "dishes")),
    Adjective("cold", "froid", ("drink", "food", "dish", "room"), False, "colder"),
    Adjective("fresh", "frais", ("fruit", "vegetable", "food_fresh", "drink")),
    Adjective("ripe", "mûr", ("fruit",)),
    Adjective("delicious", "délicieux", (*EDIBLE, "meal")),
    Adjective("wet", "mouillé", ("clothes", "footwear", "dishes", "animal")),
    Adjective("dry", "sec", ("clothes", "footwear", "dishes"), False, "drier"),
    Adjective("warm", "chaud", ("clothes", "footwear"), False, "warmer"),
    Adjective("intelligent", "intelligent", (*_MINDS, "animal")),
    Adjective("kind", "gentil", _MINDS, True, "kinder"),
    Adjective("polite", "poli", _MINDS),
    Adjective("lazy", "paresseux", (*_MINDS, "animal"), False, "lazier"),
    Adjective("brave", "courageux", _MINDS, False, "braver"),
    Adjective("honest", "honnête", _MINDS),
    Adjective("serious", "sérieux", _MINDS),
    Adjective("shy", "timide", _MINDS, False, "shyer"),
    Adjective("patient", "patient", _MINDS),
    Adjective("happy", "heureux", _MINDS, False, "happier"),
    Adjective("sad", "triste", (*_MINDS, "show", "tune", "writing"), False, "sadder"),
    Adjective("rich", "riche", _MINDS, False, "richer"),
    Adjective("strong", "fort", (*_MINDS, "animal"), False, "stronger", False),
    Adjective("funny", "drôle", (*_MINDS, "show", "writing"), False, "funnier"),
    Adjective("generous", "généreux", _MINDS),
    Adjective("curious", "curieux", (*_MINDS, "animal")),
    Adjective("jealous", "jaloux", _MINDS),
    Adjective("nervous", "nerveux", _MINDS),
    Adjective("elegant", "élégant", (*_MINDS, "clothes", "furniture")),
    Adjective("tall", "grand", _MINDS, False, "taller", False),
    Adjective("tired", "fatigué", _CREATURES, False, "", False),
    Adjective("angry", "fâché", _MINDS, False, "angrier", False),
    Adjective("sick", "malade", _CREATURES, False, "", False),
    Adjective("busy", "occupé", _MINDS, False, "", False),
    Adjective("ready", "prêt", _MINDS, False, "", False),
    Adjective("proud", "fier", _MINDS, False, "prouder", False),
    Adjective("worried", "inquiet", _MINDS, False, "", False),
    Adjective("surprised", "surpris", _MINDS, False, "", False),
    Adjective("alone", "seul", _MINDS, False, "", False),
    Adjective("French", "français", ("job", "screened", "vehicle", "food_made", "person")),
    Adjective("English", "anglais", ("job", "screened", "vehicle", "person")),
    Adjective("American", "américain", ("job", "screened", "vehicle", "person")),
    Adjective("German", "allemand", ("job", "screened", "vehicle", "person")),
    Adjective("Italian", "italien", ("job", "screened", "vehicle", "person")),
    Adjective("Spanish", "espagnol", ("job", "screened", "person")),
    Adjective("Japanese", "japonais", ("job", "screened", "vehicle", "person")),
    Adjective("Chinese", "chinois", ("job", "screened", "vehicle", "person")),
    Adjective("Belgian", "belge", ("job", "screened", "person")),
    Adjective("Portuguese", "portugais", ("job", "screened", "person")),
)

# Finer than a kind: which nouns an adjective of a sub-kind accepts.
SUBKINDS: dict[str, tuple[str, ...]] = {
    "landscape_way": ("path", "road", "river"),
    "furniture_soft": ("bed", "sofa", "chair", "armchair"),
    "food_hot": ("soup", "meat", "chicken", "chocolate"),
    "food_fresh": ("bread", "fish", "cheese", "butter"),
    "food_made": ("cheese", "bread"),
    "venue_seen": ("museum", "castle", "church"),
    "drawer": ("drawer",),
    "filled": (
        "glass",
        "cup",
        "bottle",
        "bowl",
        "theatre",
        "cinema",
        "restaurant",
        "bus",
        "drawer",
        "stadium",
        "museum",
    ),
    "round_thing": ("table", "mirror", "carpet", "basket", "box", "plate", "window", "clock", "tower", "pillow"),
    "square_thing": ("table", "mirror", "carpet", "basket", "box", "plate", "window", "pillow", "garden", "courtyard"),
    "child": ("boy", "girl", "child"),
    "idea_risky": ("idea", "plan", "decision", "mistake"),
}


# Pairs no reader accepts although their kinds agree.
CLASHES: frozenset[tuple[str, str]] = frozenset(
    {
        ("young", "king"),
        ("kind", "man"),
        ("good", "king"),
        ("new", "plant"),
        ("hot", "fork"),
        ("hot", "spoon"),
        ("hot", "glass"),
        ("hot", "bottle"),
        ("hot", "bowl"),
        ("hot", "cup"),
        ("hot", "sandwich"),
        ("hot", "biscuit"),
        ("hot", "sweet"),
        ("hot", "wine"),
        ("hot", "beer"),
        ("hot", "orange juice"),
        ("hot", "lemonade"),
        ("cold", "coffee"),
        ("fresh", "coffee"),
        ("fresh", "tea"),
        ("fresh", "wine"),
        ("fresh", "beer"),
        ("fresh", "lemonade"),
        ("fresh", "bread"),
        ("good", "mistake"),
        ("bad", "mistake"),
        ("new", "mistake"),
        ("useful", "mistake"),
        ("useful", "problem"),
        ("useless", "problem"),
        ("good", "problem"),
        ("bad", "problem"),
        ("useless", "mistake"),
        ("difficult", "mistake"),
        ("easy", "mistake"),
        ("bad", "newspaper"),
        ("bad", "dictionary"),
        ("good", "newspaper"),
        ("difficult", "menu"),
        ("difficult", "magazine"),
        ("difficult", "newspaper"),
        ("difficult", "map"),
        ("difficult", "dictionary"),
        ("easy", "idea"),
        ("difficult", "idea"),
        ("easy", "plan"),
        ("difficult", "plan"),
        ("easy", "project"),
        ("useful", "plan"),
        ("useless", "menu"),
        ("useful", "menu"),
        ("useless", "novel"),
        ("useful", "novel"),
        ("useless", "wedding"),
        ("useless", "party"),
        ("useless", "festival"),
        ("famous", "menu"),
        ("famous", "map"),
        ("famous", "flat"),
        ("famous", "customer"),
        ("famous", "guest"),
        ("famous", "child"),
        ("famous", "worker"),
        ("famous", "pupil"),
        ("famous", "tourist"),
        ("famous", "secretary"),
        ("famous", "waiter"),
        ("famous", "waitress"),
        ("famous", "nurse"),
        ("famous", "driver"),
        ("famous", "postman"),
        ("sad", "list"),
        ("sad", "report"),
        ("sad", "contract"),
        ("sad", "article"),
        ("funny", "list"),
        ("funny", "report"),
        ("funny", "contract"),
        ("sad", "match"),
        ("sad", "race"),
        ("funny", "race"),
        ("funny", "match"),
        ("heavy", "needle"),
        ("heavy", "brush"),
        ("light", "hammer"),
        ("light", "axe"),
        ("broken", "rope"),
        ("broken", "brush"),
        ("broken", "carpet"),
        ("broken", "knife"),
        ("strange", "contract"),
        ("strange", "list"),
        ("strange", "boss"),
        ("old", "child"),
        ("old", "boy"),
        ("old", "girl"),
        ("old", "pupil"),
        ("rich", "child"),
        ("rich", "pupil"),
        ("French", "king"),
        ("noisy", "bicycle"),
        ("noisy", "keyboard"),
        ("noisy", "camera"),
        ("noisy", "oven"),
        ("noisy", "phone"),
        ("noisy", "church"),
        ("noisy", "hospital"),
        ("noisy", "castle"),
        ("noisy", "region"),
        ("noisy", "country"),
        ("noisy", "cellar"),
        ("noisy", "attic"),
        ("noisy", "turtle"),
        ("noisy", "rabbit"),
        ("clean", "carpet"),
        ("big", "mouse"),
        ("big", "needle"),
        ("small", "country"),
        ("small", "desert"),
        ("small", "elephant"),
        ("small", "whale"),
        ("small", "university"),
        ("small", "airport"),
        ("small", "tower"),
        ("small", "palace"),
        ("big", "attic"),
        ("important", "street"),
        ("important", "child"),
        ("important", "boy"),
        ("important", "girl"),
        ("important", "pupil"),
        ("important", "man"),
        ("important", "woman"),
        ("interesting", "list"),
        ("boring", "list"),
        ("interesting", "contract"),
        ("boring", "contract"),
        ("interesting", "baker"),
        ("interesting", "menu"),
        ("boring", "menu"),
        ("interesting", "map"),
        ("boring", "map"),
        ("boring", "dictionary"),
        ("long", "apron"),
        ("long", "belt"),
        ("long", "cap"),
        ("long", "hat"),
        ("long", "uniform"),
        ("long", "sweater"),
        ("long", "tie"),
        ("long", "wedding"),
        ("long", "postcard"),
        ("long", "exhibition"),
        ("beautiful", "menu"),
        ("beautiful", "dictionary"),
        ("beautiful", "newspaper"),
        ("beautiful", "corridor"),
        ("beautiful", "cellar"),
        ("beautiful", "garage"),
        ("beautiful", "attic"),
        ("pretty", "corridor"),
        ("pretty", "cellar"),
        ("pretty", "garage"),
        ("pretty", "attic"),
        ("pretty", "uniform"),
        ("pretty", "ticket"),
        ("pretty", "passport"),
        ("pretty", "key"),
        ("pretty", "ruler"),
        ("pretty", "pencil"),
        ("pretty", "country"),
        ("pretty", "saucepan"),
        ("pretty", "fork"),
        ("beautiful", "apron"),
        ("beautiful", "cap"),
        ("beautiful", "pig"),
        ("beautiful", "hen"),
        ("beautiful", "sheep"),
        ("elegant", "apron"),
        ("elegant", "cap"),
        ("elegant", "clock"),
        ("elegant", "child"),
        ("good", "letter"),
        ("good", "list"),
        ("bad", "list"),
        ("bad", "letter"),
        ("bad", "message"),
        ("good", "message"),
        ("good", "postcard"),
        ("bad", "postcard"),
        ("good", "map"),
        ("bad", "wedding"),
        ("good", "wedding"),
        ("good", "rule"),
        ("bad", "rule"),
        ("good", "tourist"),
        ("good", "customer"),
        ("good", "sentence"),
        ("bad", "sentence"),
        ("good", "contract"),
        ("bad", "contract"),
        ("dangerous", "mouse"),
        ("dangerous", "frog"),
        ("dangerous", "butterfly"),
        ("dangerous", "whale"),
        ("dangerous", "owl"),
        ("dangerous", "broom"),
        ("dangerous", "brush"),
        ("dangerous", "field"),
        ("dangerous", "hill"),
        ("dangerous", "valley"),
        ("dangerous", "lake"),
        ("dangerous", "village"),
        ("dangerous", "island"),
        ("wet", "glass"),
        ("wet", "fork"),
        ("wet", "spoon"),
        ("dry", "bottle"),
        ("wet", "bottle"),
        ("wet", "belt"),
        ("dry", "belt"),
        ("warm", "shoe"),
        ("warm", "sandal"),
        ("warm", "tie"),
        ("warm", "belt"),
        ("warm", "apron"),
        ("warm", "uniform"),
        ("warm", "skirt"),
        ("warm", "shirt"),
        ("warm", "dress"),
        ("warm", "cap"),
        ("intelligent", "hen"),
        ("intelligent", "sheep"),
        ("intelligent", "duck"),
        ("strong", "hen"),
        ("strong", "duck"),
        ("strong", "bird"),
        ("strong", "rabbit"),
        ("strong", "cat"),
        ("strong", "parrot"),
        ("expensive", "list"),
        ("expensive", "message"),
        ("expensive", "letter"),
        ("expensive", "article"),
        ("expensive", "report"),
        ("expensive", "poem"),
        ("expensive", "story"),
        ("expensive", "contract"),
        ("expensive", "passport"),
        ("expensive", "menu"),
        ("expensive", "postcard"),
        ("expensive", "salt"),
        ("expensive", "water"),
        ("new", "letter"),
        ("old", "lesson"),
        ("ripe", "onion"),
        ("green", "strawberry"),
        ("green", "banana"),
        ("green", "cherry"),
        ("green", "orange"),
        ("green", "apricot"),
        ("green", "peach"),
        ("green", "tomato"),
        ("green", "melon"),
        ("red", "banana"),
        ("red", "orange"),
        ("red", "pear"),
        ("red", "peach"),
        ("red", "apricot"),
        ("red", "melon"),
        ("blue", "tree"),
        ("red", "tree"),
        ("white", "tree"),
        ("black", "tree"),
        ("yellow", "tree"),
        ("grey", "tree"),
        ("brown", "tree"),
        ("green", "rose"),
        ("blue", "rose"),
        ("grey", "rose"),
        ("brown", "rose"),
        ("black", "rose"),
        ("brown", "flower"),
        ("grey", "flower"),
        ("black", "flower"),
        ("green", "flower"),
        ("blue", "plant"),
        ("red", "plant"),
        ("white", "plant"),
        ("black", "plant"),
        ("yellow", "plant"),
        ("grey", "plant"),
        ("brown", "plant"),
        ("green", "tree"),
        ("brown", "parrot"),
        ("grey", "pig"),
        ("brown", "pig"),
        ("white", "pig"),
        ("white", "turtle"),
        ("black", "turtle"),
        ("white", "mirror"),
        ("black", "mirror"),
        ("red", "mirror"),
    }
)


def _accepts(adjective: Adjective, entry: Noun) -> bool:
    named = any(entry.en in SUBKINDS.get(kind, ()) for kind in adjective.kinds)
    return (named or adjective.qualifies(entry)) and (adjective.en, entry.en) not in CLASHES


@cache
def adjectives_for(entry: Noun) -> tuple[Adjective, ...]:
    """Gives the adjectives that make sense with a noun, the predicative ones included."""
    return tuple(adjective for adjective in ADJECTIVES if _accepts(adjective, entry))


@dataclass(frozen=True)
class Action:
    """A verb in both languages with the kinds of its object.

    `preposition` is the French preposition before the object; English particles belong to the English verb.
    A stative verb puts the simple past in the imperfect; without `progressive`, "is -ing" is not English;
    what is not `willed` befalls its subject, and is neither ordered nor planned.
    """

    en: english.Verb
    fr: french.Verb
    kinds: tuple[str, ...] = ()
    preposition: str = ""
    stative: bool = False
    progressive: bool = True
    willed: bool = True


_SUDDEN = (
    *(
        "break",
        "lose",
        "find",
        "steal",
        "receive",
        "forget",
        "finish",
        "begin",
        "accept",
        "refuse",
        "understand",
        "cancel",
    ),
    *("hear", "see", "meet", "believe"),
)
_UNWILLED = (
    "break",
    "lose",
    "forget",
    "hear",
    "burn",
    "steal",
    "receive",
    "lie to",
    "understand",
    "see",
    "cough",
    "dream",
    "cry",
)


def _action(
    en: str,
    fr: str,
    kinds: tuple[str, ...] = (),
    *,
    preposition: str = "",
    stative: bool = False,
    auxiliary: str = "avoir",
) -> Action:
    base, _, particle = en.partition(" ")
    reflexive = fr.startswith(("se ", "s'"))
    infinitive = fr.removeprefix("se ").removeprefix("s'")
    verb = french.Verb(infinitive, auxiliary, reflexive)
    progressive = not stative and en not in _SUDDEN
    return Action(english.Verb(base, particle), verb, kinds, preposition, stative, progressive, en not in _UNWILLED)


# Verbs with a direct object in French.
TRANSITIVE: tuple[Action, ...] = (
    _action("eat", "manger", EDIBLE),
    _action("drink", "boire", ("drink",)),
    _action("buy", "acheter", (*MERCHANDISE, *GROCERY, "vehicle", "home", "plant")),
    _action("sell", "vendre", (*MERCHANDISE, *GROCERY, "vehicle", "home", "animal")),
    _action("read", "lire", READABLE),
    _action("write", "écrire", ("writing",)),
    _action("make", "faire", ("pastry",)),
    _action("prepare", "préparer", ("meal", "gathering_prepared", "food_cooked")),
    _action("cut", "couper", ("fruit", "food_cut", "rope", "vegetable")),
    _action("wash", "laver", ("dishes", "clothes", "footwear_washed", "vehicle", "vegetable", "fruit_washed")),
    _action("clean", "nettoyer", ("room", "furniture_cleaned", "footwear_cleaned", "device", "window")),
    _action("open", "ouvrir", ("opening", "container_opened", "letter_opened")),
    _action("close", "fermer", ("opening", "container_closed")),
    _action("break", "casser", ("dishes_broken", "toy_broken", "tool_broken", "device")),
    _action("repair", "réparer", ("vehicle", "ride", "device", "furniture_repaired", "roof_repaired", "opening")),
    _action("lose", "perdre", ("thing_lost", "jewel", "clothes_lost", "footwear_lost")),
    _action("find", "trouver", ("thing_lost", "jewel", "text_lost", "idea_found")),
    _action("take", "prendre", ("thing_lost", "container", "medicine", "tool")),
    _action("wear", "porter", WORN),
    _action("carry", "porter", ("container", "furniture_light", "tool_heavy")),
    _action("hide", "cacher", ("thing_lost", "jewel", "writing_hidden")),
    _action("choose", "choisir", ("clothes", "thing_chosen", "dish", "text", "idea_chosen")),
    _action("use", "utiliser", ("tool", "device_used", "dishes_used", "ingredient")),
    _action("build", "construire", ("building_built", "structure_built", "venue_built")),
    _action("paint", "peindre", ("opening", "structure_painted", "furniture_painted", "building_painted")),
    _action("draw", "dessiner", ("plant", "animal", "building", "wild", "vehicle")),
    _action("drive", "conduire", ("vehicle",)),
    _action("steal", "voler", ("thing_stolen", "jewel", "vehicle_stolen", "device_stolen")),
    _action("rent", "louer", ("vehicle_rented", "ride", "flat_rented")),
    _action("borrow", "emprunter", ("text_lent", "thing_lent", "tool", "vehicle_rented", "ride")),
    _action("order", "commander", ("dish_ordered", "drink_ordered", "food_ordered", "text_bought")),
    _action("receive", "recevoir", ("writing_received", "gift")),
    _action("translate", "traduire", ("writing_translated", "text_translated")),
    _action("copy", "copier", ("writing_copied", "sentence")),
    _action("sign", "signer", ("writing_signed",)),
    _action("learn", "apprendre", ("science", "language", "tune", "poem")),
    _action("teach", "enseigner", ("science", "language")),
    _action("study", "étudier", ("science", "language", "idea_studied")),
    _action("forget", "oublier", ("thing_lost", "idea_forgotten", "clothes_lost", "gathering_forgotten")),
    _action("finish", "finir", ("idea_finished", "text_finished", "writing_finished", "meal")),
    _action("begin", "commencer", ("idea_finished", "text_finished", "writing_finished")),
    _action("watch", "regarder", ("show_watched",)),
    _action("cross", "traverser", ("landscape_crossed", "bridge")),
    _action("visit", "visiter", ("venue_visited", "building_visited", "area_visited")),
    _action("plant", "planter", ("planted", "vegetable_planted")),
    _action("water", "arroser", ("plant", "garden")),
    _action("pick", "cueillir", ("flower", "fruit_picked")),
    _action("feed", "nourrir", ("animal",)),
    _action("catch", "attraper", ("animal_caught", "wild_caught", "balloon")),
    _action("count", "compter", ("animal_counted", "thing_counted")),
    _action("push", "pousser", ("vehicle_pushed", "furniture_pushed", "ride_pushed")),
    _action("move", "déplacer", ("furniture", "container", "vehicle_pushed")),
    _action("lift", "soulever", ("container", "furniture_light", "tool_heavy")),
    _action("touch", "toucher", ("animal", "furniture_touched", "painting")),
    _action("burn", "brûler", ("writing_burned", "dish_burned", "food_burned")),
    _action("fill", "remplir", ("container", "dishes_filled")),
    _action("accept", "accepter", ("gift", "idea_accepted")),
    _action("refuse", "refuser", ("gift", "dish_refused")),
    _action("solve", "résoudre", ("problem", "riddle")),
    _action("explain", "expliquer", ("idea_explained",)),
    _action("understand", "comprendre", ("idea_explained", "text_understood")),
    _action("organise", "organiser", ("gathering_organised",)),
    _action("cancel", "annuler", ("gathering_organised", "concert")),
    _action("describe", "décrire", ("building", "area", "landscape", "painting")),
    _action("sing", "chanter", ("tune",)),
    _action("taste", "goûter", ("dish_tasted", "food_tasted", "drink_tasted")),
    _action("photograph", "photographier", ("animal", "wild", "building", "landscape", "plant")),
    _action("check", "vérifier", ("idea_checked", "ticket_checked", "writing_checked")),
    _action("send", "envoyer", ("writing_sent", "gift")),
    _action("admire", "admirer", ("landscape", "plant", "building_visited", "painting", "jewel")),
    _action("hear", "entendre", ("animal_heard", "tune", "device_heard")),
)

SUBKINDS.update(
    {
        "pastry": ("cake", "tart", "sandwich", "omelette", "pizza", "pancake", "biscuit", "soup", "salad", "jam"),
        "warm": ("coat", "hat", "scarf", "sweater", "jacket", "cap"),
        "served": ("fish", "chicken", "omelette", "pizza", "pancake", "soup", "salad", "tart"),
        "home": ("house", "flat"),
        "planted": ("tree", "flower", "rose"),
        "library": ("book", "newspaper", "magazine", "novel", "dictionary", "map"),
        "screened": ("film", "play"),
        "device_used": ("computer", "phone", "printer", "camera", "oven", "washing machine", "keyboard"),
        "baked": ("bread", "cake", "tart", "biscuit", "sandwich"),
        "film": ("film",),
        "show_watched": ("film", "match", "race"),
        "match": ("match", "race"),
        "theatre": ("play", "concert"),
        "priced": ("house", "flat", "painting", "ticket", "toy", "doll", "dictionary"),
        "gathering_prepared": ("party", "exam", "lesson", "trip", "meeting"),
        "food_cooked": ("soup", "salad", "rice", "fish", "meat", "chicken"),
        "food_cut": ("bread", "cheese", "meat", "ham"),
        "rope": ("rope",),
        "footwear_washed": ("sock",),
        "fruit_washed": ("apple", "pear", "cherry", "strawberry", "tomato", "peach"),
        "furniture_cleaned": ("table", "mirror", "carpet", "desk", "fridge", "cupboard"),
        "footwear_cleaned": ("shoe", "boot"),
        "window": ("window",),
        "container_opened": ("box", "bag", "suitcase", "bottle"),
        "container_closed": ("box", "bag", "suitcase"),
        "letter_opened": ("letter", "gift"),
        "dishes_broken": ("bottle", "glass", "cup", "plate", "bowl"),
        "toy_broken": ("toy", "doll", "watch", "mirror", "lamp", "window"),
        "tool_broken": ("ruler", "pencil", "chair"),
        "furniture_repaired": ("chair", "table", "lamp", "clock", "bed", "watch"),
        "roof_repaired": ("roof", "wall", "bridge", "toy"),
        "thing_lost": ("key", "umbrella", "wallet", "pen", "ticket", "passport", "notebook", "photo", "balloon", "bag"),
        "clothes_lost": ("hat", "scarf", "cap"),
        "footwear_lost": ("glove",),
        "text_lost": ("book", "dictionary", "map", "letter", "list"),
        "idea_found": ("solution", "answer", "mistake"),
        "medicine": ("map", "book", "bus", "taxi"),
        "furniture_light": ("chair", "table", "armchair"),
        "tool_heavy": ("ladder", "bucket"),
        "writing_hidden": ("letter", "gift", "chocolate"),
        "thing_chosen": ("gift", "painting", "toy"),
        "idea_chosen": ("answer", "solution"),
        "dishes_used": ("fork", "spoon", "saucepan", "pen", "pencil"),
        "building_built": ("house", "tower", "bridge", "palace"),
        "cosy": ("book", "newspaper", "magazine", "novel", "poem"),
        "structure_built": ("wall",),
        "venue_built": ("school", "hospital", "church", "stadium", "library", "theatre", "factory", "hotel"),
        "structure_painted": ("wall", "roof"),
        "furniture_painted": ("chair", "table", "shelf", "cupboard"),
        "building_painted": ("house", "bridge", "kitchen", "bedroom"),
        "thing_stolen": ("wallet", "painting", "passport", "key"),
        "vehicle_stolen": ("car", "bicycle", "motorbike"),
        "device_stolen": ("computer", "phone", "camera"),
        "vehicle_rented": ("car", "lorry"),
        "flat_rented": ("flat", "house"),
        "text_lent": ("book", "newspaper", "novel", "dictionary", "map"),
        "thing_lent": ("umbrella", "pen", "pencil", "ruler"),
        "dish_ordered": ("omelette", "pizza", "cake", "sandwich"),
        "drink_tasted": ("milk", "coffee", "tea", "wine", "beer", "orange juice", "lemonade"),
        "drink_ordered": ("coffee", "tea", "wine", "beer", "orange juice"),
        "food_ordered": ("fish", "chicken", "soup", "salad"),
        "text_bought": ("book", "computer", "phone"),
        "writing_received": ("letter", "message", "postcard", "report"),
        "gift": ("gift",),
        "writing_translated": ("letter", "poem", "article", "contract", "story", "sentence", "word"),
        "text_translated": ("book", "novel", "menu"),
        "writing_copied": ("letter", "poem", "list", "article"),
        "sentence": ("sentence", "word", "exercise", "rule"),
        "writing_signed": ("letter", "contract", "report"),
        "poem": ("poem", "word", "rule"),
        "idea_studied": ("problem", "question", "project", "map", "plan"),
        "idea_forgotten": ("word", "answer", "rule", "question"),
        "gathering_forgotten": ("meeting", "lesson", "exam"),
        "idea_finished": ("exercise", "project"),
        "text_finished": ("book", "novel"),
        "writing_finished": ("letter", "poem", "article", "report"),
        "landscape_crossed": ("river", "forest", "field", "desert", "valley", "road", "lake"),
        "bridge": ("bridge", "street", "village", "city"),
        "venue_visited": ("museum", "castle", "church", "school", "factory", "farm"),
        "building_visited": ("palace", "tower", "house"),
        "vegetable_planted": ("potato", "carrot", "bean", "onion"),
        "garden": ("garden",),
        "flower": ("flower", "rose"),
        "fruit_picked": ("apple", "pear", "cherry", "peach", "strawberry", "tomato", "apricot"),
        "animal_caught": ("rabbit", "bird", "hen"),
        "wild_caught": ("mouse", "fox", "wolf", "butterfly", "snake", "frog"),
        "balloon": ("balloon",),
        "animal_counted": ("sheep", "cow", "bird", "hen"),
        "thing_counted": ("ticket", "stamp", "egg", "bottle", "chair"),
        "vehicle_pushed": ("car", "bicycle"),
        "furniture_pushed": ("table", "bed", "sofa", "wardrobe", "armchair", "desk", "door"),
        "area_visited": ("city", "village", "country", "region", "neighbourhood"),
        "area_cleaned": ("city", "street", "village", "neighbourhood"),
        "ride_pushed": ("motorbike", "boat"),
        "furniture_touched": ("wall", "mirror"),
        "painting": ("painting", "photo"),
        "writing_burned": ("letter", "photo", "contract", "omelette"),
        "dish_burned": ("cake", "tart", "pancake"),
        "food_burned": ("meat", "bread", "rice"),
        "dishes_filled": ("glass", "cup", "bottle", "bowl"),
        "idea_accepted": ("idea", "decision", "solution", "project", "plan"),
        "problem": ("problem",),
        "riddle": ("riddle",),
        "idea_explained": ("idea", "problem", "rule", "decision", "question", "exercise", "answer", "word", "sentence"),
        "text_understood": ("book", "poem", "letter"),
        "gathering_organised": ("meeting", "party", "trip", "exhibition", "conference", "festival", "wedding"),
        "concert": ("concert", "match"),
        "dish_refused": ("cake", "sandwich", "biscuit", "sweet", "tart"),
        "dish_tasted": ("cake", "tart", "omelette", "pancake", "biscuit"),
        "food_tasted": ("soup", "cheese", "ham", "jam", "honey", "ice cream", "chocolate"),
        "idea_checked": ("answer", "sentence", "exercise"),
        "ticket_checked": ("ticket", "passport"),
        "writing_checked": ("list", "report", "contract"),
        "writing_sent": ("letter", "message", "postcard", "report", "list"),
        "thing_shown": ("photo", "ticket", "passport", "painting", "toy"),
        "map": ("map",),
        "animal_heard": ("dog", "bird", "horse", "owl"),
        "device_heard": ("radio", "train", "plane"),
    }
)


@cache
def entries(kinds: tuple[str, ...]) -> tuple[Noun, ...]:
    """Gives the nouns of some kinds and finer kinds."""
    names = {name for kind in kinds for name in SUBKINDS.get(kind, ())}
    return tuple(entry for kind, found in NOUNS.items() for entry in found if kind in kinds or entry.en in names)


@cache
def objects_of(action: Action) -> tuple[Noun, ...]:
    """Gives the nouns that may be the object of an action."""
    return entries(action.kinds)


# Verbs whose object is a person.
SOCIAL: tuple[Action, ...] = (
    _action("see", "voir", PEOPLE),
    _action("know", "connaître", PEOPLE, stative=True),
    _action("meet", "rencontrer", PEOPLE),
    _action("help", "aider", PEOPLE),
    _action("wait for", "attendre", PEOPLE),
    _action("look for", "chercher", PEOPLE),
    _action("listen to", "écouter", PEOPLE),
    _action("look at", "regarder", PEOPLE),
    _action("call", "appeler", PEOPLE),
    _action("invite", "inviter", PEOPLE),
    _action("thank", "remercier", PEOPLE),
    _action("follow", "suivre", PEOPLE),
    _action("greet", "saluer", PEOPLE),
    _action("congratulate", "féliciter", PEOPLE),
    _action("respect", "respecter", PEOPLE, stative=True),
)

# Verbs whose French object takes "à", hence "lui" and "leur".
INDIRECT: tuple[Action, ...] = (
    _action("answer", "répondre", PEOPLE, preposition="à"),
    _action("obey", "obéir", PEOPLE, preposition="à"),
    _action("talk to", "parler", PEOPLE, preposition="à"),
    _action("phone", "téléphoner", PEOPLE, preposition="à"),
    _action("lie to", "mentir", PEOPLE, preposition="à"),
    _action("write to", "écrire", PEOPLE, preposition="à"),
    _action("smile at", "sourire", PEOPLE, preposition="à"),
)

# Verbs of giving: a thing to a person.
GIVING: tuple[Action, ...] = (
    _action("give", "donner", ("thing_lost", "gift", "jewel", "text", "dish_ordered", "plant_given", "container")),
    _action("send", "envoyer", ("writing_sent", "gift", "painting")),
    _action("show", "montrer", ("thing_shown", "text", "jewel", "clothes_shown", "building_shown")),
    _action("offer", "offrir", ("gift", "jewel", "plant_given", "text_offered", "drink_ordered")),
    _action("lend", "prêter", ("text_lent", "thing_lent", "tool", "vehicle_rented", "ride")),
    _action("sell", "vendre", ("ride", "vehicle_rented", "device", "animal", "instrument")),
    _action("bring", "apporter", ("drink_ordered", "thing_brought", "dish_ordered", "container", "newspaper")),
    _action("explain", "expliquer", ("idea_explained",)),
    _action("tell", "raconter", ("story_told",)),
    _action("read", "lire", ("story_told", "poem_read")),
)

SUBKINDS.update(
    {
        "plant_given": ("flower", "rose", "plant"),
        "clothes_shown": ("dress", "coat", "house", "garden"),
        "building_shown": ("house", "flat", "garden", "bedroom"),
        "text_offered": ("book", "necklace", "violin", "guitar"),
        "thing_brought": ("key", "towel", "blanket", "chair", "letter", "umbrella"),
        "newspaper": ("newspaper", "menu"),
        "story_told": ("story",),
        "poem_read": ("poem", "letter", "article"),
    }
)

# What people do without an object.
INTRANSITIVE: tuple[Action, ...] = (
    _action("sleep", "dormir"),
    _action("work", "travailler"),
    _action("sing", "chanter"),
    _action("dance", "danser"),
    _action("laugh", "rire"),
    _action("cry", "pleurer"),
    _action("smile", "sourire"),
    _action("run", "courir"),
    _action("walk", "marcher"),
    _action("swim", "nager"),
    _action("travel", "voyager"),
    _action("cook", "cuisiner"),
    _action("wait", "attendre"),
    _action("shout", "crier"),
    _action("cough", "tousser"),
    _action("dream", "rêver"),
    _action("smoke", "fumer"),
    _action("eat", "manger"),
    _action("read", "lire"),
    _action("study", "étudier"),
)

ANIMAL_ACTS: tuple[Action, ...] = (
    _action("sleep", "dormir"),
    _action("eat", "manger"),
    _action("run", "courir"),
    _action("drink", "boire"),
    _action("play", "jouer"),
)

REFLEXIVES: tuple[Action, ...] = (
    _action("get up", "se lever"),
    _action("wake up", "se réveiller"),
    _action("get dressed", "s'habiller"),
    _action("rest", "se reposer"),
    _action("hurry", "se dépêcher"),
    _action("go to bed", "se coucher"),
    _action("go for a walk", "se promener"),
    _action("fall asleep", "s'endormir"),
    _action("sit down", "s'asseoir"),
    _action("get bored", "s'ennuyer"),
    _action("have fun", "s'amuser"),
    _action("get married", "se marier"),
    _action("make a mistake", "se tromper"),
    _action("complain", "se plaindre"),
    _action("get lost", "se perdre"),
    _action("train", "s'entraîner"),
    _action("shave", "se raser"),
    _action("stop", "s'arrêter"),
)

# Verbs of motion with the auxiliary "être".
LEAVE = _action("leave", "partir", auxiliary="être")
GO = _action("go", "aller", auxiliary="être")
COME = _action("come", "venir", auxiliary="être")
COME_BACK = _action("come back", "revenir", auxiliary="être")
ARRIVE = _action("arrive", "arriver", auxiliary="être")
GO_OUT = _action("go out", "sortir", auxiliary="être")
GO_UP = _action("go up", "monter", auxiliary="être")
GO_DOWN = _action("go down", "descendre", auxiliary="être")
FALL = _action("fall", "tomber", auxiliary="être")
STAY = _action("stay", "rester", auxiliary="être")
GO_HOME = _action("go home", "rentrer", auxiliary="être")
RETURN = _action("return", "retourner", auxiliary="être")

MOTION: tuple[Action, ...] = (LEAVE, COME, COME_BACK, ARRIVE, GO_OUT, FALL, GO_HOME)

BE = _action("be", "être", stative=True)
HAVE = _action("have", "avoir", stative=True)
LIVE = _action("live", "habiter")
LIKE = _action("like", "aimer", stative=True)
HATE = _action("hate", "détester", stative=True)
PREFER = _action("prefer", "préférer", stative=True)
WANT = _action("want", "vouloir", stative=True)
KNOW_HOW = _action("know", "savoir", stative=True)
SPEAK = _action("speak", "parler")
PLAY = _action("play", "jouer")
BELONG = _action("belong to", "appartenir", stative=True)
THINK_OF = _action("think about", "penser")
TALK_ABOUT = _action("talk about", "parler")
DREAM_OF = _action("dream of", "rêver")


@dataclass(frozen=True)
class Name:
    """A first name, the same in both languages."""

    text: str
    gender: str


NAMES: tuple[Name, ...] = (
    *(
        Name(text, "m")
        for text in ("Paul", "Pierre", "Jean", "Louis", "Marc", "Thomas", "Antoine", "Simon", "Adam", "Victor")
    ),
    *(
        Name(text, "f")
        for text in ("Marie", "Julie", "Anne", "Claire", "Sophie", "Alice", "Emma", "Léa", "Hélène", "Isabelle")
    ),
)


@dataclass(frozen=True)
class Place:
    """A country or a city: with its article ("la France"), and how French says "in" and "from" it."""

    en: str
    fr: str
    inside: str
    origin: str


COUNTRIES: tuple[Place, ...] = (
    Place("France", "la France", "en France", "de France"),
    Place("Spain", "l'Espagne", "en Espagne", "d'Espagne"),
    Place("Italy", "l'Italie", "en Italie", "d'Italie"),
    Place("Germany", "l'Allemagne", "en Allemagne", "d'Allemagne"),
    Place("England", "l'Angleterre", "en Angleterre", "d'Angleterre"),
    Place("Belgium", "la Belgique", "en Belgique", "de Belgique"),
    Place("Switzerland", "la Suisse", "en Suisse", "de Suisse"),
    Place("Greece", "la Grèce", "en Grèce", "de Grèce"),
    Place("Russia", "la Russie", "en Russie", "de Russie"),
    Place("China", "la Chine", "en Chine", "de Chine"),
    Place("India", "l'Inde", "en Inde", "d'Inde"),
    Place("Egypt", "l'Égypte", "en Égypte", "d'Égypte"),
    Place("Norway", "la Norvège", "en Norvège", "de Norvège"),
    Place("Japan", "le Japon", "au Japon", "du Japon"),
    Place("Canada", "le Canada", "au Canada", "du Canada"),
    Place("Portugal", "le Portugal", "au Portugal", "du Portugal"),
    Place("Brazil", "le Brésil", "au Brésil", "du Brésil"),
    Place("Mexico", "le Mexique", "au Mexique", "du Mexique"),
    Place("Morocco", "le Maroc", "au Maroc", "du Maroc"),
    Place("the United States", "les États-Unis", "aux États-Unis", "des États-Unis"),
    Place("the Netherlands", "les Pays-Bas", "aux Pays-Bas", "des Pays-Bas"),
)

CITIES: tuple[Place, ...] = tuple(
    Place(en, fr, f"à {fr}", french.elide(f"de {fr}"))
    for en, fr in (
        ("Paris", "Paris"),
        ("Lyon", "Lyon"),
        ("Marseille", "Marseille"),
        ("London", "Londres"),
        ("Brussels", "Bruxelles"),
        ("Geneva", "Genève"),
        ("Rome", "Rome"),
        ("Venice", "Venise"),
        ("Madrid", "Madrid"),
        ("Lisbon", "Lisbonne"),
        ("Berlin", "Berlin"),
        ("Vienna", "Vienne"),
        ("Athens", "Athènes"),
        ("Moscow", "Moscou"),
        ("Tokyo", "Tokyo"),
        ("New York", "New York"),
        ("Montreal", "Montréal"),
        ("Amsterdam", "Amsterdam"),
    )
)

CAPITALS: tuple[tuple[str, str], ...] = (
    ("Paris", "France"),
    ("Madrid", "Spain"),
    ("Rome", "Italy"),
    ("Berlin", "Germany"),
    ("London", "England"),
    ("Brussels", "Belgium"),
    ("Athens", "Greece"),
    ("Moscow", "Russia"),
    ("Tokyo", "Japan"),
    ("Lisbon", "Portugal"),
)

WEEKDAYS: tuple[tuple[str, str], ...] = (
    ("Monday", "lundi"),
    ("Tuesday", "mardi"),
    ("Wednesday", "mercredi"),
    ("Thursday", "jeudi"),
    ("Friday", "vendredi"),
    ("Saturday", "samedi"),
    ("Sunday", "dimanche"),
)

MONTHS: tuple[tuple[str, str], ...] = (
    ("January", "janvier"),
    ("February", "février"),
    ("March", "mars"),
    ("April", "avril"),
    ("May", "mai"),
    ("June", "juin"),
    ("July", "juillet"),
    ("August", "août"),
    ("September", "septembre"),
    ("October", "octobre"),
    ("November", "novembre"),
    ("December", "décembre"),
)

SEASONS: tuple[tuple[str, str], ...] = (
    ("in spring", "au printemps"),
    ("in summer", "en été"),
    ("in autumn", "en automne"),
    ("in winter", "en hiver"),
)

NUMBERS: tuple[tuple[str, str], ...] = (
    ("one", "un"),
    ("two", "deux"),
    ("three", "trois"),
    ("four", "quatre"),
    ("five", "cinq"),
    ("six", "six"),
    ("seven", "sept"),
    ("eight", "huit"),
    ("nine", "neuf"),
    ("ten", "dix"),
    ("eleven", "onze"),
    ("twelve", "douze"),
    ("thirteen", "treize"),
    ("fourteen", "quatorze"),
    ("fifteen", "quinze"),
    ("sixteen", "seize"),
    ("seventeen", "dix-sept"),
    ("eighteen", "dix-huit"),
    ("nineteen", "dix-neuf"),
    ("twenty", "vingt"),
)

TENS: tuple[tuple[str, str], ...] = (
    ("thirty", "trente"),
    ("forty", "quarante"),
    ("fifty", "cinquante"),
    ("sixty", "soixante"),
    ("seventy", "soixante-dix"),
    ("eighty", "quatre-vingts"),
    ("ninety", "quatre-vingt-dix"),
)

ORDINALS: tuple[tuple[str, str], ...] = (
    ("first", "premier"),
    ("second", "deuxième"),
    ("third", "troisième"),
    ("fourth", "quatrième"),
    ("fifth", "cinquième"),
    ("sixth", "sixième"),
    ("seventh", "septième"),
    ("tenth", "dixième"),
)
