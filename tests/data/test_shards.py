"""Documents of token ids: in memory, and in the files that `prepare` wrote."""

import pytest

from vesalius.core.errors import VesaliusError
from vesalius.data.shards import Documents, TokenShards


def test_documents_are_read_by_number():
    documents = Documents.from_lists([[1, 2, 3], [4], [5, 6]])
    assert len(documents) == 3
    assert documents.num_tokens == 6
    assert [document.tolist() for document in documents] == [[1, 2, 3], [4], [5, 6]]
    assert documents.lengths.tolist() == [3, 1, 2]
    for number in (-1, 3):
        with pytest.raises(IndexError, match=f"document {number} of 3"):
            documents[number]


def test_the_identity_knows_contents_and_boundaries():
    def identity(lists):
        return Documents.from_lists(lists).identity

    assert identity([[1, 2], [3]]) == identity([[1, 2], [3]])
    assert identity([[1, 2], [3]]) != identity([[1], [2, 3]])
    assert identity([[1, 2], [3]]) != identity([[1, 2], [4]])


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([], "no document"),
        ([[1], []], "document 1 without a token"),
        ([[1, -100]], "token id -100"),
    ],
)
def test_lists_that_are_no_documents(lists, message):
    with pytest.raises(VesaliusError, match=message):
        Documents.from_lists(lists)


def test_a_folder_that_is_none_of_ours(tmp_path):
    with pytest.raises(VesaliusError, match="vesalius data prepare"):
        TokenShards(tmp_path)
    (tmp_path / "manifest.json").write_text('{"kind": "sweep", "schema_version": 1}')
    with pytest.raises(VesaliusError, match="kind 'sweep', version 1"):
        TokenShards(tmp_path)
