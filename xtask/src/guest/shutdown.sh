#!/bin/sh
# The guest agent calls `shutdown -P|-H|-r`, waits for the answer, and only then may the machine go.
case "$*" in
*-r*) (sleep 1; reboot -f) & ;;
*) (sleep 1; poweroff -f) & ;;
esac
