"""Two runs at once in one folder: the second is refused, until the first is over; two writers of one file."""

import errno
import fcntl
import os
import signal

import pytest
from helpers import SMALL_RUN, assert_refused, contents, run_script, start_script, wait_for_line
from mnist_gan.errors import InputError
from mnist_gan.files import atomic_write, lock_folder, locked_folders, open_folder

ENDLESS = (*SMALL_RUN, "--epochs", "999")


def test_a_second_run_is_refused_until_the_first_is_killed(run_command, finished_run, tmp_path):
    with start_script(ENDLESS, tmp_path) as process:
        wait_for_line(process, "Epoch 1/999")
        process.send_signal(signal.SIGSTOP)  # so that whatever changes is the second run's doing
        os.waitpid(process.pid, os.WUNTRACED)
        before = contents(tmp_path)
        for arguments, folder in (
                ([*SMALL_RUN, "--epochs", "1"], "outputs"), ([*ENDLESS, "--resume"], "outputs"),
                ([*SMALL_RUN, "--plots-dir", "other"], "outputs"), ([*SMALL_RUN, "--output-dir", "other"], "plots")):
            result = run_command(arguments, tmp_path)
            assert_refused(result, tmp_path, before, f"another run is writing to the folder {folder};")

        # Drawing writes one whole file and disturbs nobody.
        generator = str(finished_run / "outputs" / "generator.keras")
        status, _, stderr = run_command(["--generate", "3", "--generator", generator], tmp_path)
        assert (status, stderr) == (0, "")
        process.kill()
    status, stdout, stderr = run_script([*SMALL_RUN, "--epochs", "1"], tmp_path)
    assert (status, stderr) == (0, "")
    assert "This run replaces the earlier one in outputs; stop now and add --resume to continue it." in stdout
    assert (tmp_path / "outputs" / "generator.keras").exists()


def test_one_folder_for_everything_does_not_keep_its_own_run_out(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with locked_folders(tmp_path / "folder", tmp_path / "folder", tmp_path / "link", f"{tmp_path}/folder/../folder"):
        with pytest.raises(InputError, match="another run"):
            lock_folder(tmp_path / "folder")
    assert contents(tmp_path) == {}


def test_a_folder_is_free_again_after_a_run_and_after_a_refusal(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    with locked_folders(second):
        with pytest.raises(InputError, match="second"), locked_folders(first, second):
            pytest.fail("two runs at once")
        with locked_folders(first):
            pass
    with locked_folders(first, second):
        pass


def test_a_folder_that_was_moved_is_noticed(tmp_path):
    with locked_folders(tmp_path / "folder") as require_in_place:
        require_in_place()
        (tmp_path / "folder").rename(tmp_path / "moved")
        with pytest.raises(OSError, match="has been moved"):
            require_in_place()
        (tmp_path / "folder").mkdir()  # as a second run would make it
        with pytest.raises(OSError, match="has been moved"):
            require_in_place()


def test_two_who_write_one_file_at_once_do_not_mix(tmp_path):
    path, seen = tmp_path / "file.txt", []

    def write(partial):
        partial.write_text("first, ")
        atomic_write(path, lambda other: other.write_text("second"))
        seen.append(path.read_text())
        with open(partial, "a") as file:
            file.write("to its end")
    atomic_write(path, write)
    assert seen == ["second"] and path.read_text() == "first, to its end"
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_removes_what_a_killed_one_has_left_but_not_what_is_being_written(tmp_path):
    (tmp_path / ".partial-0123abcd.npz").write_bytes(b"left")
    (tmp_path / ".partial-of-mine").write_bytes(b"of the user")

    def write(partial):
        open_folder(tmp_path)
        assert set(tmp_path.iterdir()) == {partial, tmp_path / ".partial-of-mine"}
        partial.write_text("whole")
    atomic_write(tmp_path / "file.txt", write)
    assert contents(tmp_path) == {"file.txt": b"whole", ".partial-of-mine": b"of the user"}


def test_where_nothing_can_be_locked_what_is_being_written_is_kept_and_runs_are_not_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")
    monkeypatch.setattr(fcntl, "flock", refuse)

    def write(partial):
        partial.write_text("whole")
        with locked_folders(tmp_path), locked_folders(tmp_path):
            assert partial.exists()
    atomic_write(tmp_path / "file.txt", write)
    assert contents(tmp_path) == {"file.txt": b"whole"}
