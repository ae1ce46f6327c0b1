"""Photographs and masks: reading, checking, looking at and drawing them.

DIR/{train,val,test}/images/NAME.jpg    a photograph (.jpg, .png, .webp, .bmp, .tif)
DIR/{train,val,test}/masks/NAME.png     one channel, each pixel its class index, 255 = ignored
DIR/dataset.toml                        optional: class names and colours
"""
