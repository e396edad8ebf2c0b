"""Captions as the tokens that caption scores are counted on, without Java.

CIDEr, BLEU and ROUGE are reported on what Stanford's PTBTokenizer 3.4.1 makes
of captions, lower-cased, with punctuation taken out. This does the same to
captions in plain Python. The rules are the Penn treebank's, with that
tokenizer's own habits: which abbreviations keep their full stop, what counts
as one number, how brackets and currencies are written.

A caption is read by itself. The original reads a file of them, and decides by
the next one's first word whether a single letter's last full stop is kept.
"""

from __future__ import annotations

import re

# Any case. The full stop is a part of these wherever they stand.
_SHORTENED = (
    'Mr Mrs Ms Dr Drs Prof Profs Sen Sens Rep Reps Atty Lt Col Gen Messrs Gov '
    'Govs Adm Rev Maj Sgt Cpl Pvt Mt Capt St Ste Ave Pres Lieut Hon Brig '
    'Comdr Cmdr Pfc Spc Supt Det Jr Sr Bros Blvd Rd Esq Jan Feb Mar Apr Jun '
    'Jul Aug Sep Sept Oct Nov Dec Mon Tue Tues Wed Thu Thurs Fri Ala Ariz '
    'Calif Colo Conn Ct Dak Fla Ga Ind Kan Kans Ky Md Mich Minn Mo Mont Neb '
    'Nev Okla Penn Tenn Va Vt Wis Wisc Wyo Inc Co Cos Corp Pty Pte Ltd Plc '
    'Bancorp Dept Bhd Assn Univ Intl Sys Ph tel est ext sq ft etc al seq vs '
    'Alex Wm Jos Cie cf Bldg Rt Ph.D Ed.D'
)
# Words of their own in small letters: 'ill', 'mass', 'wash'.
_CAPITALISED = 'Az Ark Del Ill La Mass Mfg Ore Pa Tex Wash'
_BEFORE_NUMBERS = 'No Nos Prop pp ca fig'


def _any(words: str) -> str:
    """An alternative of words that may be written in capitals."""
    both = {form for w in words.split() for form in (w, w.upper())}
    return '|'.join(re.escape(word) for word in sorted(both))


# Tried in this order; the first that fits is the next token.
_TOKEN = re.compile(
    rf"""
      https?://\S+\w
    | [\w.]+@[\w-]+(?:\.[\w-]+)+                    # an address
    | </?[a-zA-Z][^<>]*>                            # a tag
    | [:;=]'?-?[()DPp|](?!\w)                       # a face
    | [@#][^\W\d]\w*                                # a name, a hash tag
    | \(\d{{3}}\)\ ?\d{{3}}-\d{{4}}                 # a telephone number
    | \d+/\d+/\d+ | \d+[- ]\d+/\d+[a-z]*            # a date, a fraction
    | \d+/\d+[a-z]*(?:-[^\W_]+)*                    # 3/4-size
    | [-+]?\d*(?:[.,:]\d+)+ | [-+]\d+               # a number
    | (?:(?i:{_any(_SHORTENED)})|{_any(_CAPITALISED)})\.(?![a-zA-Z])
    | (?i:{_any(_BEFORE_NUMBERS)})\.(?=\s*\d)
    | (?:[a-zA-Z]\.)+(?!\w)                         # U.S.
    | [A-Z]+(?:&[A-Z]+)+                            # AT&T
    | (?i:can(?=not\b)|(?:gon|wan)(?=na\b)|got(?=ta\b)|(?:gim|lem)(?=me\b))
    | (?i:['’]t(?=(?:is|was)\b)|y['’](?=all\b))
    | ['’](?i:s|d|m|ll|re|ve)(?![^\W\d_])           # a clitic
    | ['’](?i:em|til|cause)\b
    | ['’]n['’] | ['’]n(?!\w)                       # rock 'n' roll
    | ['’]\d\ds?(?![\w'’"”])                        # the '90s
    | [^\W\d_]+?(?=(?i:n['’`]t)(?![^\W\d_]))        # do n't
    | (?i:n['’`]t)(?![^\W\d_])
    | [^\W\d_](?<![iIyY])['’](?!(?:[dms]|ll|re|ve)\b)[^\W\d_]{{2,}}
    | (?i:ma['’]am|[^\W\d_]*[aeiou]['’][aeiou])[^\W\d_]*
    | (?i:c\+\+|[cf]\#) | (?:US|HK|[AC])\$
    | [^\W\d_]+(?:[.?!][^\W\d_]+)+                  # a full stop, no blank
    | [^\W_]+(?:[-_/][^\W_]+)*                      # a word
    | [?!]+ | \*+ | _+ | & (?:amp|lt|gt); | \S
    """,
    re.VERBOSE,
)
# Left out of scores; dashes and quotation marks of any kind with them.
_LEFT_OUT = re.compile(r'[-.,:;?!\'"`“”‘’«»…—–‐―]|--+|\.\.+')
_WRITTEN = {
    **{'(': '-lrb-', ')': '-rrb-', '[': '-lsb-', ']': '-rsb-'},
    **{'{': '-lcb-', '}': '-rcb-', '’': "'"},
    **{'£': '#', '€': '$', '¢': 'cents', '½': '1/2', '¾': '3/4', '¼': '1/4'},
    **{'&amp;': '&', '&lt;': '<', '&gt;': '>'},
}
_REWRITTEN = re.compile('|'.join(map(re.escape, _WRITTEN)))


def caption_tokens(caption: str) -> list[str]:
    """The tokens of a caption, in small letters, without punctuation.

    Args:
        caption: Any text; line breaks are blanks.

    Returns:
        "a man 's dog ca n't see" for "A man's dog can't see.", as a list.
    """
    return [
        _REWRITTEN.sub(lambda match: _WRITTEN[match[0]], token).lower()
        for token in _TOKEN.findall(caption)
        if not _LEFT_OUT.fullmatch(token)
    ]
