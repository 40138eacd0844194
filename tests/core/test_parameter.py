import pytest

from mtaframe.parameter import parameters, with_parameter


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('text/plain; charset="utf-8"; format=flowed', {"charset": "utf-8", "format": "flowed"}),
        ("text/plain; Charset = ISO-8859-1 ", {"charset": "ISO-8859-1"}),
        ('a/b; name="x; charset=y"', {"name": "x; charset=y"}),
        (r'a/b; name="say \"hi\""', {"name": 'say "hi"'}),
        ("a/b; filename*=utf-8''%e2%82%ac.txt", {"filename": "€.txt"}),
        ('a/b; name*1=" b"; name*0=a', {"name": "a b"}),
        ("a/b; name*0*=iso-8859-1'de'%FC; name*1=x; name=plain", {"name": "üx"}),
        ('a/b; boundary="unclosed', {"boundary": "unclosed"}),
        ("a/b;;; =x; y", {}),
    ],
)
def test_parameters(value: str, expected: dict[str, str]) -> None:
    assert parameters(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text/html", "text/html; charset=utf-8"),
        ('text/html; charset="us-ascii"; format=flowed', "text/html; format=flowed; charset=utf-8"),
        ('text/html; name="; charset=x"', 'text/html; name="; charset=x"; charset=utf-8'),
        ("text/html; charset*=us-ascii'en'latin1;", "text/html; charset=utf-8"),
        ('text/html;charset=""!', "text/html; charset=utf-8"),
        ('text/html; charset=a"b"; format=flowed', "text/html; format=flowed; charset=utf-8"),
        ('text/html; name=""!; charset=x', 'text/html; name=""!; charset=utf-8'),
        ('text/html; name="never closed\\', 'text/html; name="never closed"; charset=utf-8'),
        ('text/html; name="never closed', 'text/html; name="never closed"; charset=utf-8'),
    ],
)
def test_one_parameter_changes(value: str, expected: str) -> None:
    assert with_parameter(value, "charset", "utf-8") == expected
