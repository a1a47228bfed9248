"""Ten genre-like recipes, named after GTZAN's genres: tempo, rhythm, harmony, timbre, percussion, and what they share.

They are caricatures for trying out software and no claim about music. Knows nothing about how they become sound.
"""

from genre_ray.data.synthesis.recipe import Drums, Groove, Harmony, Melody, Part, Production, Recipe

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
BLUES = (0, 3, 5, 6, 7, 10)
PENTATONIC = (0, 2, 4, 7, 9)
MINOR_PENTATONIC = (0, 3, 5, 7, 10)
DORIAN = (0, 2, 3, 5, 7, 9, 10)
PHRYGIAN = (0, 1, 3, 5, 7, 8, 10)
_TWELVE_BARS = "0:7 0:7 0:7 0:7 5:7 5:7 0:7 0:7 7:7 5:7 0:7 7:7"
_EIGHTHS = "x.x.x.x.x.x.x.x."
_BACKBEAT = "....x.......x..."

RECIPES: dict[str, Recipe] = {
    "blues": Recipe(
        Groove((66, 128), (0.6, 0.68), 0.012),
        Drums(
            (
                {"kick": "x.......x.......", "snare": _BACKBEAT, "hat": "x.o.x.o.x.o.x.o."},
                {"kick": "x.....?.x.......", "brush": "o...x...o...x...", "ride": "x.o.x.o.x.o.x.o."},
                {},
            ),
            (0.1, 0.45),
        ),
        Harmony((_TWELVE_BARS, "0:7 5:7 0:7 0:7 5:7 5:7 0:7 0:7 7:7 5:7 0:7 7:7"), BLUES),
        Part(("bass",), ("1.3.5.6.8.6.5.3.", "1...3...5...6...", "1.1.5.5.6.6.5.5."), 2, (0.2, 0.5), (0.3, 0.6)),
        Part(
            ("pluck", "piano", "overdriven"),
            ("x.x.x.x.x.x.x.x.", "x--.x--.x--.x--.", "..x-..x-..x-..x-"),
            3,
            (0.2, 0.6),
            (0.15, 0.4),
        ),
        Melody(("overdriven", "pluck", "voice", "horn"), (2, 6), 4, (0.3, 0.7), (0.35, 0.7), 0.35),
        Production((0.05, 0.25), (0.4, 1.2), (2500, 8000), (0.0005, 0.01), (0.0, 1.0)),
        ("country", "rock", "jazz"),
    ),
    "classical": Recipe(
        Groove((56, 144), (0.5, 0.5), 0.018),
        Drums(({},), (0.0, 0.0)),
        Harmony(("0:maj 5:maj 7:maj 0:maj", "0:min 5:min 7:maj 0:min", "0:maj 9:min 2:min 7:maj"), MAJOR),
        Part(
            ("strings", "piano"),
            ("1-------5-------", "1---------------", "1---5---8---5---"),
            2,
            (0.0, 0.3),
            (0.15, 0.45),
        ),
        Part(
            ("strings", "piano"),
            ("x---------------", "a-a-a-a-a-a-a-a-", "a.a.a.a.a.a.a.a."),
            3,
            (0.0, 0.4),
            (0.2, 0.5),
        ),
        Melody(("strings", "piano", "horn"), (2, 8), 5, (0.0, 0.5), (0.3, 0.7), 0.15),
        Production((0.3, 0.6), (1.2, 2.6), (2500, 8000), (0.0, 0.0015), (0.0, 0.1)),
        ("jazz", "blues"),
    ),
    "country": Recipe(
        Groove((84, 168), (0.5, 0.6), 0.01),
        Drums(
            (
                {"kick": "x.......x.......", "snare": _BACKBEAT, "hat": _EIGHTHS},
                {"kick": "x.......x.......", "brush": "ooxoooxoooxoooxo"},
                {"kick": "x.....x.x.......", "rim": _BACKBEAT, "shaker": _EIGHTHS},
            ),
            (0.12, 0.4),
        ),
        Harmony(
            ("0:maj 5:maj 0:maj 7:maj", "0:maj 0:maj 5:maj 0:maj 7:maj 7:maj 0:maj 0:maj", "0:maj 9:min 5:maj 7:maj"),
            PENTATONIC,
        ),
        Part(("bass",), ("1.......5.......", "1...5...1...5...", "1.......5...3..."), 2, (0.2, 0.5), (0.3, 0.6)),
        Part(
            ("pluck", "piano"), ("....x-......x-..", "x-.x-.x-x-.x-.x-", "a.a.a.a.a.a.a.a."), 4, (0.5, 0.9), (0.25, 0.5)
        ),
        Melody(("voice", "pluck", "strings"), (2, 6), 4, (0.4, 0.8), (0.3, 0.7), 0.25),
        Production((0.05, 0.25), (0.4, 1.2), (6000, 10000), (0.0, 0.008), (0.0, 0.4)),
        ("blues", "rock", "pop"),
    ),
    "disco": Recipe(
        Groove((108, 134), (0.5, 0.52), 0.004),
        Drums(
            (
                {"kick": "x...x...x...x...", "open": "..x...x...x...x.", "snare": _BACKBEAT, "hat": "xoxoxoxoxoxoxoxo"},
                {"kick": "x...x...x...x...", "open": "..x...x...x...x.", "clap": _BACKBEAT},
                {
                    "kick": "x...x...x...x...",
                    "hat": "x.xxx.xxx.xxx.xx",
                    "clap": _BACKBEAT,
                    "shaker": "xoxoxoxoxoxoxoxo",
                },
            ),
            (0.4, 0.75),
            brightness=(0.5, 1.0),
        ),
        Harmony(("0:m7 5:7 0:m7 5:7", "0:m7 8:maj7 10:maj 0:m7", "0:maj7 9:m7 2:m7 7:7"), DORIAN),
        Part(
            ("bass", "synth"), ("1.8.1.8.1.8.1.8.", "1..81.8.5..85.8.", "1.181.181.181.18"), 2, (0.4, 0.8), (0.35, 0.6)
        ),
        Part(
            ("strings", "electric_piano", "pluck"),
            ("..x...x...x...x.", "x.xx..x.x.xx..x.", "x-------x--x----"),
            4,
            (0.4, 0.9),
            (0.15, 0.4),
        ),
        Melody(("voice", "strings", "horn"), (2, 7), 5, (0.4, 0.8), (0.25, 0.6), 0.3),
        Production((0.1, 0.3), (0.6, 1.4), (6000, 10000), (0.0, 0.008), (0.0, 0.5)),
        ("pop", "hiphop", "reggae"),
    ),
    "hiphop": Recipe(
        Groove((76, 112), (0.5, 0.6), 0.008),
        Drums(
            (
                {"kick": "x.....x...x.....", "snare": _BACKBEAT, "hat": _EIGHTHS},
                {"kick": "x..x......x..x..", "snare": _BACKBEAT, "hat": "x.xxx.x.x.x.x.xx"},
                {"kick": "x......x.x......", "clap": _BACKBEAT, "hat": "xxxxxxxxxxxxxxxx"},
            ),
            (0.5, 0.9),
            kick_hz=(42.0, 56.0),
            brightness=(0.4, 1.0),
        ),
        Harmony(("0:m7 0:m7 0:m7 0:m7", "0:min 8:maj 0:min 7:min", "0:m7 5:m7 0:m7 5:m7"), MINOR_PENTATONIC),
        Part(
            ("sub_bass", "bass"),
            ("1-----1---1-----", "1--1------5-----", "1-------........"),
            1,
            (0.1, 0.6),
            (0.45, 0.8),
        ),
        Part(
            ("electric_piano", "piano", "strings"),
            ("x-------........", "a...a.a...a.....", "x..x..x........."),
            4,
            (0.1, 0.5),
            (0.1, 0.3),
        ),
        Melody(("rap",), (8, 13), 3, (0.3, 0.9), (0.4, 0.8), 0.1),
        Production((0.02, 0.15), (0.2, 0.8), (5000, 10000), (0.002, 0.02), (0.1, 1.0)),
        ("disco", "reggae", "pop"),
    ),
    "jazz": Recipe(
        Groove((84, 216), (0.58, 0.68), 0.014),
        Drums(
            (
                {"ride": "x...x.x.x...x.x.", "hat": _BACKBEAT, "kick": "o...?...o...?..."},
                {"brush": "o.o.x.o.o.o.x.o.", "ride": "x...x.x.x...x.x."},
                {"ride": "x.x.x.x.x.x.x.x.", "snare": "..?....?....?...", "kick": "x......?..?....."},
            ),
            (0.1, 0.4),
            brightness=(0.2, 0.8),
        ),
        Harmony(("2:m7 7:7 0:maj7 0:maj7", "0:maj7 9:7 2:m7 7:7", "0:m7 5:7 10:maj7 3:maj7"), DORIAN),
        Part(("bass",), ("1...w...w...w...", "1...5...w...w..."), 2, (0.1, 0.4), (0.3, 0.6)),
        Part(
            ("piano", "electric_piano", "pluck"),
            ("x-....x-........", "...x-.......x-..", "x--.......x--..."),
            4,
            (0.2, 0.6),
            (0.12, 0.35),
        ),
        Melody(("horn", "piano", "pluck"), (4, 11), 4, (0.2, 0.7), (0.4, 0.8), 0.2),
        Production((0.1, 0.35), (0.6, 1.6), (3000, 9000), (0.0, 0.006), (0.0, 0.2)),
        ("blues", "classical", "country"),
    ),
    "metal": Recipe(
        Groove((92, 190), (0.5, 0.5), 0.004),
        Drums(
            (
                {"kick": "x.xxx.xxx.xxx.xx", "snare": _BACKBEAT, "crash": "x...............", "hat": _EIGHTHS},
                {"kick": "xxxxxxxxxxxxxxxx", "snare": _BACKBEAT, "ride": "x...x...x...x..."},
                {"kick": "x..x..x.x..x..x.", "snare": _BACKBEAT, "crash": "x.......x.......", "hat": _EIGHTHS},
            ),
            (0.35, 0.7),
            brightness=(0.5, 1.0),
        ),
        Harmony(("0:5 0:5 1:5 0:5", "0:5 8:5 10:5 0:5", "0:5 0:5 3:5 1:5", "0:5 5:5 3:5 10:5"), PHRYGIAN),
        Part(
            ("distorted", "bass"),
            ("1.111.111.111.11", "1.1.1.1.1.1.1.1.", "1--1--1-1--1--1-"),
            1,
            (0.4, 0.8),
            (0.3, 0.5),
        ),
        Part(("distorted",), ("x.xxx.xxx.xxx.xx", "x-------x---x---", "xxx.xxx.xxx.xxx."), 2, (0.5, 1.0), (0.4, 0.7)),
        Melody(("overdriven", "rap", "voice"), (3, 12), 4, (0.6, 1.0), (0.2, 0.5), 0.4),
        Production((0.03, 0.2), (0.4, 1.2), (6000, 10000), (0.0, 0.004), (0.6, 1.8)),
        ("rock",),
    ),
    "pop": Recipe(
        Groove((88, 132), (0.5, 0.53), 0.004),
        Drums(
            (
                {"kick": "x.......x.x.....", "snare": _BACKBEAT, "hat": _EIGHTHS},
                {"kick": "x...x...x...x...", "clap": _BACKBEAT, "shaker": "xoxoxoxoxoxoxoxo"},
                {"kick": "x..x..x...x.....", "snare": _BACKBEAT, "hat": "xoxoxoxoxoxoxoxo"},
            ),
            (0.35, 0.7),
            brightness=(0.5, 1.0),
        ),
        Harmony(("0:maj 7:maj 9:min 5:maj", "9:min 5:maj 0:maj 7:maj", "0:maj 9:min 5:maj 7:maj"), MAJOR),
        Part(
            ("bass", "synth", "sub_bass"),
            ("1.1.1.1.1.1.1.1.", "1-----1-5-------", "1--1--1---1-5---"),
            2,
            (0.3, 0.7),
            (0.3, 0.6),
        ),
        Part(
            ("synth", "electric_piano", "pluck", "strings"),
            ("x---------------", "a.a.a.a.a.a.a.a.", "x-.x-.x-..x-.x-."),
            4,
            (0.4, 0.8),
            (0.15, 0.4),
        ),
        Melody(("voice",), (4, 9), 5, (0.4, 0.9), (0.4, 0.8), 0.15),
        Production((0.1, 0.35), (0.6, 1.6), (8000, 10000), (0.0, 0.003), (0.2, 0.9)),
        ("disco", "rock", "hiphop", "country"),
    ),
    "reggae": Recipe(
        Groove((64, 98), (0.5, 0.62), 0.01),
        Drums(
            (
                {"kick": "........x.......", "rim": "........x.......", "hat": _EIGHTHS},
                {"kick": "x.......x.......", "snare": "........x.......", "hat": "x.x.x.x.x.x.x.xx"},
                {"kick": "x...x...x...x...", "rim": "........x..x....", "open": "..............x.", "hat": _EIGHTHS},
            ),
            (0.3, 0.6),
        ),
        Harmony(("0:min 5:min 0:min 5:min", "0:maj 5:maj 0:maj 7:maj", "0:min 10:maj 0:min 10:maj"), MINOR_PENTATONIC),
        Part(
            ("bass", "sub_bass"),
            ("1-..3-5-....5-8-", "....1-1-..5-3-1-", "1--1--5-....8-5-"),
            1,
            (0.1, 0.4),
            (0.5, 0.8),
        ),
        Part(
            ("organ", "pluck", "piano"),
            ("....x.......x...", "..x...x...x...x.", "..x.x.x...x.x.x."),
            4,
            (0.4, 0.8),
            (0.25, 0.5),
        ),
        Melody(("voice", "horn", "organ"), (2, 6), 4, (0.3, 0.7), (0.25, 0.6), 0.35),
        Production((0.1, 0.4), (0.6, 2.0), (3000, 9000), (0.0, 0.008), (0.0, 0.4)),
        ("hiphop", "disco", "pop"),
    ),
    "rock": Recipe(
        Groove((92, 160), (0.5, 0.54), 0.008),
        Drums(
            (
                {"kick": "x.......x.x.....", "snare": _BACKBEAT, "hat": _EIGHTHS},
                {
                    "kick": "x.....x.x.......",
                    "snare": _BACKBEAT,
                    "open": "x...x...x...x...",
                    "crash": "x...............",
                },
                {"kick": "x.x.....x.x.....", "snare": _BACKBEAT, "ride": _EIGHTHS},
            ),
            (0.35, 0.65),
        ),
        Harmony(("0:5 10:5 5:5 0:5", "0:maj 7:maj 5:maj 0:maj", "0:min 8:maj 3:maj 10:maj"), MINOR_PENTATONIC),
        Part(("bass",), ("1.1.1.1.1.1.1.1.", "1...1.1.1...5.5.", "1--1--1-1-----5-"), 2, (0.3, 0.7), (0.3, 0.6)),
        Part(
            ("overdriven", "distorted", "pluck"),
            ("x.x.x.x.x.x.x.x.", "x--x--x-x-------", "x-------x---x---"),
            3,
            (0.2, 0.7),
            (0.25, 0.5),
        ),
        Melody(("voice", "overdriven"), (2, 7), 4, (0.4, 0.8), (0.3, 0.7), 0.3),
        Production((0.05, 0.25), (0.4, 1.2), (6000, 10000), (0.0, 0.006), (0.3, 1.2)),
        ("metal", "pop", "blues", "country"),
    ),
}
