"""Around a lesson: what its set-up cell asks, its tasks, and what was answered."""

from dlhelpers.course.records import progress
from dlhelpers.course.start import begin
